// How an item of each kind is drawn, in the review page (`served`) and in a report (`embedded`); looks without scripts stand in items/KIND.html.j2.
// A share in words, as `labelsieve.progress.percent` says it: what is nearly sure is not called certain.
globalThis.percent = (share, digits = 0) => {
  const least = 0.5 * 10 ** -(digits + 2), step = 10 ** -digits;
  if (share >= 1 - least && share < 1) return `over ${(100 - step).toFixed(digits)} %`;
  if (share > 0 && share < least) return `under ${step.toFixed(digits)} %`;
  // halves go to the even digit, as Python rounds them
  const long = (100 * share).toFixed(20), end = long.indexOf(".") + (digits ? digits + 1 : 0), cut = long.slice(0, end);
  const even = /^\.?50*$/.test(long.slice(end)) && "02468".includes(cut.at(-1));
  return `${even ? cut : (100 * share).toFixed(digits)} %`;
};
// A probability as an adverb, as `labelsieve.progress.how_likely` says it.
globalThis.LIKELY = [[0.95, "almost certainly"], [0.8, "very likely"], [0.5, "probably"], [0.2, "possibly"], [0, "hardly"]];
globalThis.howLikely = (share) => LIKELY.find(([least]) => share >= least)[1];
globalThis.ITEMS = {
  images: {
    noun: "image",
    canvas: true, // can be drawn on the map
    // address: of one size of the item on the server
    served(address, words = "") {
      const image = document.createElement("img");
      Object.assign(image, { src: address, alt: words, draggable: false, decoding: "async" });
      return image;
    },
    // data: what `embed` of the kind gave, never empty
    embedded(data, words) {
      const image = document.createElement("img");
      image.addEventListener("load", () => image.classList.toggle("crisp", image.naturalWidth <= 64 && image.naturalHeight <= 64)); // single pixels count
      Object.assign(image, { src: "data:image/webp;base64," + data, alt: words });
      return image;
    },
  },
  texts: {
    noun: "text",
    canvas: false, // and no pixels to look at: read instead
    // textContent, never innerHTML: a text may hold markup
    served(address, words = "") {
      const box = document.createElement("span");
      Object.assign(box, { className: "text", dir: "auto", title: words });
      fetch(address).then((reply) => (reply.ok ? reply.text() : "")).then((text) => { box.textContent = text; });
      return box;
    },
    embedded(data, words) {
      const box = document.createElement("span");
      Object.assign(box, { className: "text", dir: "auto", title: words, textContent: data });
      return box;
    },
  },
};
// Texts of pages that the server made are fetched into their places, also where a page is exchanged in part.
{
  const fill = () => {
    for (const place of document.querySelectorAll("[data-text]")) {
      const address = place.dataset.text;
      place.removeAttribute("data-text"); // once
      fetch(address).then((reply) => (reply.ok ? reply.text() : "")).then((text) => { place.textContent = text; });
    }
  };
  new MutationObserver(fill).observe(document.documentElement, { childList: true, subtree: true });
}
