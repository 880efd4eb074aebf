"""Plug-ins as another package would bring them: short texts instead of images, end to end."""
