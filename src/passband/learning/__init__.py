"""Learning: networks and their families, losses, training, and scores."""

from passband.learning.families import build
from passband.learning.losses import segmentation_loss
from passband.learning.network_config import NetworkConfig
from passband.learning.predict import predict
from passband.learning.scores import count_pixels
from passband.learning.train import Epoch, Member, TrainingConfig, train, train_fleet
from passband.learning.unet import UNet

__all__ = [
    "Epoch",
    "Member",
    "NetworkConfig",
    "TrainingConfig",
    "UNet",
    "build",
    "count_pixels",
    "predict",
    "segmentation_loss",
    "train",
    "train_fleet",
]
