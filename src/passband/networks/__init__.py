"""Networks: a small U-Net, its losses, its images and its training."""

from passband.networks.batches import ImageSource, camera_masks
from passband.networks.losses import segmentation_loss
from passband.networks.train import Epoch, Member, TrainingConfig, train, train_fleet
from passband.networks.unet import NetworkConfig, UNet

__all__ = [
    "Epoch",
    "ImageSource",
    "Member",
    "NetworkConfig",
    "TrainingConfig",
    "UNet",
    "camera_masks",
    "segmentation_loss",
    "train",
    "train_fleet",
]
