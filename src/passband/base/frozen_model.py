"""The base of recipes and settings."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Values that are validated once and never change; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
