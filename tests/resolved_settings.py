"""The settings that every runnable configuration resolves to, as one file under version control: a change of
a setting shows in its diff. After an intended change:

    python tests/resolved_settings.py
"""

import json
from pathlib import Path

from tests_support import CONFIG, compose_config

from tempohand.commands.scripts import SYNTHETIC, TRAINED, configurations
from tempohand.data.arguments import data_names

RECORD = Path(__file__).with_name("resolved_settings.json")
DATA = data_names(CONFIG)


def recorded_commands() -> dict[str, tuple[str, ...]]:
    """A configuration's name with its overrides -> the recorded parts of its settings, () for all."""
    names = ["evaluate", "prepare", *configurations(TRAINED), *configurations(SYNTHETIC)]
    commands: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    commands |= {f"stage1-tiny data={data}": ("data",) for data in DATA}
    commands |= {f"evaluate data={data}": ("data",) for data in ("mix_images", "freihand")}
    commands |= {f"stage2-tiny tokens={tokens}": ("tokens",) for tokens in ("cached", "online")}
    for network in ("tiny", "dino_small", "dino_base", "dino_large"):
        commands[f"stage1-tiny network={network}"] = ("network", "view")
    return commands


def flat(settings: object, prefix: str = "") -> dict[str, object]:
    """Nested mappings as one of dotted keys; an empty mapping stays one."""
    if not isinstance(settings, dict) or not settings:
        return {prefix: settings}
    found: dict[str, object] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else key)
    return found


def resolve(command: str, parts: tuple[str, ...]) -> dict[str, object]:
    """The flat settings of a recorded command."""
    name, *overrides = command.split()
    settings = compose_config(name, *overrides)
    return flat({part: settings[part] for part in parts} if parts else settings)


def main() -> None:
    """Writes the record anew, one setting a line."""
    settings = {command: resolve(command, parts) for command, parts in recorded_commands().items()}
    RECORD.write_text(
        json.dumps(settings, indent=0, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(f"wrote {len(settings)} commands, {RECORD.stat().st_size / 1e3:.0f} KB, to {RECORD}")


if __name__ == "__main__":
    main()
