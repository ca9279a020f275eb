"""passband: will a segmentation network still work under these imaging conditions?"""

__version__ = "0.1.0"
