// How an item of each kind is drawn, in the review page (`served`) and in a report (`embedded`); looks without scripts stand in items/KIND.html.j2.
globalThis.ITEMS = {
  images: {
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
};
