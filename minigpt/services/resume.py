"""Which settings a resumed run goes on with."""

from minigpt.errors import SettingsError
from minigpt.events import Note, Report
from minigpt.settings import Settings

# May change within a run: they do not touch what was learnt so far, or which pairs were seen.
CHANGEABLE = {
    "data.source",
    "data.train",
    "data.val",
    "data.vocab",
    "data.strict",
    "train.run_dir",
    "train.epochs",
    "train.micro_batch_tokens",
    "train.learning_rate",
    "train.muon_learning_rate",
    "train.schedule",
    "train.weight_decay",
    "train.grad_clip",
    "train.validate_every",
    "train.save_every_s",
    "train.patience",
    "train.show_samples",
    "train.tensorboard",
    "model.dropout",
}
KEPT_TABLES = ("data", "model", "train")  # [runtime] is always that of this machine, now


def resumed_settings(now: Settings, then: Settings, report: Report) -> Settings:
    """The run's own settings, changed by the options and environment variables given now.

    `minigpt.toml` and the defaults do not count: the run was started with what they said then.

    Raises:
        SettingsError: A setting that fixes the model or the order of the pairs is given anew.
    """
    merged = {table: dict(getattr(now, table)) for table in type(now).model_fields}
    origins = dict(now._origins)
    for table in KEPT_TABLES:
        for key, value in getattr(then, table):
            given = getattr(getattr(now, table), key)
            if not _is_explicit(now.origin(table, key)) or given == value:
                merged[table][key] = value
                origins[f"{table}.{key}"] = then.origin(table, key)
            elif f"{table}.{key}" in CHANGEABLE:
                report(Note(f"{table}.{key}: {given} from now on, {value} before"))
            else:
                raise SettingsError(
                    f"{now.origin(table, key)}: the run was started with {table}.{key} = {value}, "
                    f"and cannot go on with {given}",
                    hint="leave it out, or start anew with --force",
                )
    settings = Settings.model_validate(merged)
    settings._origins.update(origins)
    settings._file = now._file
    return settings


def _is_explicit(origin: str) -> bool:
    return origin.startswith(("--", "MINIGPT_")) or origin == "option"
