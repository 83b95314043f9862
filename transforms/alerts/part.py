"""What all settings of alerts have in common: frozen records, read from YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import DistilwatchError

Severity = Literal["low", "medium", "high", "critical"]


class Part(BaseModel):
    """Frozen, and an unknown name is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


M = TypeVar("M", bound=Part)


def read_part(path: Path, model: type[M]) -> M:
    """A YAML file as a record.

    Raises:
      DistilwatchError: the file is missing, no YAML, or does not fit.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return model.model_validate({} if raw is None else raw)
    except OSError as error:
        raise DistilwatchError(
            f"the file cannot be read: {error.strerror}", str(path), "check its path"
        ) from error
    except UnicodeDecodeError as error:
        raise DistilwatchError(
            "the file is not UTF-8 text", str(path), "save it as UTF-8"
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise DistilwatchError(f"this is not YAML: {error}", str(path), "mend it") from error
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in detail['loc']) or 'the file'}: "
            + detail["msg"].removeprefix("Value error, ")
            for detail in error.errors(include_url=False, include_input=False)
        )
        raise DistilwatchError(
            wrong, str(path), "see docs/alerts.md for what belongs there"
        ) from None
    except ValueError as error:  # of YAML's own times, such as 2026-13-45
        raise DistilwatchError(f"a value that is none: {error}", str(path), "mend it") from error
