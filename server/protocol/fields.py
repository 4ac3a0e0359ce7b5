"""Building bricks of request models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError


class RequestModel(BaseModel):
    """A request body. Types are not coerced; fields nobody knows are kept in `model_extra`, to be named in a header."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())


class RequestPart(BaseModel):
    """An object inside a request body; unknown fields in it are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class ResponseModel(BaseModel):
    """A response body, or an object inside one; only the fields that were set are sent."""

    model_config = ConfigDict(protected_namespaces=())

    def to_json(self) -> bytes:
        return self.model_dump_json(exclude_unset=True).encode()


def one_of(wanted: str) -> WrapValidator:
    """For a union: one sentence that says what is wanted, in place of one complaint per branch."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("wrong_type", "Input should be {wanted}", {"wanted": wanted}) from None

    return WrapValidator(validate)
