"""Learning: networks and their families, losses, training, and scores."""

from passband.learning.fleets import Predictors
from passband.learning.networks import NetworkConfig, UNet, build, predict
from passband.learning.segmentation import SEGMENTATION, Segmentation, count_pixels, segmentation_loss
from passband.learning.task import Headline, Task
from passband.learning.tasks import TASKS, task_of
from passband.learning.train import Epoch, Member, train, train_group
from passband.learning.training_config import TrainingConfig

__all__ = [
    "SEGMENTATION",
    "TASKS",
    "Epoch",
    "Headline",
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
    "task_of",
    "train",
    "train_group",
]
