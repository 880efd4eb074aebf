"""Image-text encoders: opening them, their arithmetic, and what is learned beside them."""
