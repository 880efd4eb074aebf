"""From what Pillow gives to plain RGB: colours and bit depth, in bounded memory."""
