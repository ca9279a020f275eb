"""Networks: their families, losses, images and training."""

from passband.networks.batches import ImageSource, MixedSource, camera_masks
from passband.networks.config import NetworkConfig
from passband.networks.families import build
from passband.networks.losses import segmentation_loss
from passband.networks.train import Epoch, Member, TrainingConfig, train, train_fleet
from passband.networks.unet import UNet

__all__ = [
    "Epoch",
    "ImageSource",
    "Member",
    "MixedSource",
    "NetworkConfig",
    "TrainingConfig",
    "UNet",
    "build",
    "camera_masks",
    "segmentation_loss",
    "train",
    "train_fleet",
]
