"""Kinds of settings: what a value must look like; what is wrong with another, and what to do about it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr

from flaskapp import addresses
from flaskapp.phone.cost import read_prices
from flaskapp.signing import webhook_key

#: A Fernet key: half of it signs, half of it encrypts. Source: the Fernet specification.
DATA_KEY_BYTES = 32


def _existing_file(path: str) -> str:
    if path and not Path(path).is_file():
        raise ValueError("names a file that does not exist; correct the path or leave it empty")
    return path


def _prices(text: str) -> str:
    read_prices(text)
    return text


def _webhook_secret(secret: SecretStr) -> SecretStr:
    webhook_key(secret.get_secret_value())
    return secret


def _data_keys(secret: SecretStr) -> SecretStr:
    for key in secret.get_secret_value().split(","):
        try:
            size = len(base64.b64decode(key.strip(), altchars=b"-_", validate=True))
        except ValueError:  # letters that no base64 has, or too few
            size = 0
        if size != DATA_KEY_BYTES:
            raise ValueError(
                "must be Fernet keys, with commas between them; `flask phone data-key` prints a new one"
            )
    return secret


def _modules(text: str) -> str:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise ValueError(
            "must be modules as Python imports them, as in mytools.opening_hours, mytools.orders"
        )
    return ", ".join(names)


Origin = Annotated[str, AfterValidator(addresses.origin)]
EngineUrl = Annotated[str, AfterValidator(addresses.engine_url)]
AzureUrl = Annotated[str, AfterValidator(addresses.azure_url)]
RedisUrl = Annotated[str, AfterValidator(addresses.redis_url)]
DatabaseUrl = Annotated[str, AfterValidator(addresses.database_url)]
WebhookUrl = Annotated[str, AfterValidator(addresses.webhook_url)]
Networks = Annotated[str, AfterValidator(addresses.networks)]
FilePath = Annotated[str, AfterValidator(_existing_file)]
PriceList = Annotated[str, AfterValidator(_prices)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
DataKey = Annotated[SecretStr, AfterValidator(_data_keys)]
Modules = Annotated[str, AfterValidator(_modules)]
Upper = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
