"""The tasks that a study may name."""

from passband.base.errors import BadInputError
from passband.learning.classes import Classes
from passband.learning.columns import Columns
from passband.learning.instances import Instances
from passband.learning.regression import Defocus, MeanDiameter, Thickness
from passband.learning.segmentation import LossName, Segmentation
from passband.learning.task import Task

#: By name; a new one is added here.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (Segmentation(), Instances(), Thickness(), Columns(), Classes(), MeanDiameter(), Defocus())
}


def task_of(name: str, loss: LossName = "cross_entropy_dice", classes: tuple[str, ...] = ()) -> Task:
    """Return a task by its name; the loss is one of segmentation's, and the names of classes are of `classes.classes_of`.

    Raises:
        BadInputError: listing the tasks, if there is none of that name.
    """
    if name not in TASKS:
        raise BadInputError(f"task {name!r} is unknown; known are {', '.join(TASKS)}", value=name, limit=list(TASKS))
    if name == Classes.name:
        return Classes(classes)
    return Segmentation(loss) if name == "segmentation" else TASKS[name]
