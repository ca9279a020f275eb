"""Learning: networks and their families, losses, training, and scores."""

from passband.learning.fleets import Predictors
from passband.learning.networks import NetworkConfig, UNet, build, predict
from passband.learning.task import SEGMENTATION, Segmentation, Task, count_pixels, segmentation_loss
from passband.learning.train import Epoch, Member, train, train_group
from passband.learning.training_config import TrainingConfig

__all__ = [
    "SEGMENTATION",
    "Epoch",
    "Member",
    "NetworkConfig",
    "Predictors",
    "Segmentation",
    "Task",
    "TrainingConfig",
    "UNet",
    "build",
    "count_pixels",
    "predict",
    "segmentation_loss",
    "train",
    "train_group",
]
