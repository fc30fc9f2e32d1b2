"""The pixels, drawings and files of images and videos."""
