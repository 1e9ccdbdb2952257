"""What Home Assistant's own checks, HACS and the quality scale ask of the files here.

Each check takes the folder of an integration, or a file, and returns what is wrong.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
import json
from pathlib import Path
import re
from string import Formatter
from typing import Any, Final

from awesomeversion import AwesomeVersion, AwesomeVersionException
from awesomeversion.strategy import AwesomeVersionStrategy
import homeassistant
from homeassistant.const import Platform
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import config_validation as cv, selector
from homeassistant.util.yaml import load_yaml_dict
from packaging.requirements import InvalidRequirement, Requirement
from PIL import Image
import probatio as vol

type Problems = list[str]
type Check = Callable[[Path], Problems]

CORE: Final = Path(homeassistant.__file__).parent

# Schemas


def _problems(name: str, schema: vol.Schema, data: object) -> Problems:
    """Return what a schema has against the content of a file."""
    try:
        schema(data)
    except vol.MultipleInvalid as err:
        return [f"{name}: {error}" for error in err.errors]
    except vol.Invalid as err:
        return [f"{name}: {err}"]
    return []


def _must[T](condition: Callable[[T], bool], message: str) -> Callable[[T], T]:
    """Return a validator of values of a known type."""

    def validate(value: T) -> T:
        if not condition(value):
            raise vol.Invalid(f"{message}: {value!r}")
        return value

    return validate


def _json(path: Path) -> tuple[Any, Problems]:
    """Return what a JSON file says, and what is wrong with it as such."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        repeated.extend(name for name in set(names) if names.count(name) > 1)
        return dict(pairs)

    repeated: list[str] = []
    try:
        data = json.loads(path.read_text("utf-8"), object_pairs_hook=unique)
    except (OSError, ValueError) as err:
        return {}, [f"{path.name}: {err}"]
    return data, [f"{path.name}: {name} is there twice" for name in repeated]


def json_problems(folder: Path) -> Problems:
    """JSON that can be read, indented by two spaces, each key once."""
    problems: Problems = []
    for path in sorted(folder.rglob("*.json")):
        problems += _json(path)[1]
        depth = 0
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", line)
            bare = outside.strip()
            closing = len(bare) - len(bare.lstrip("]}"))
            wanted = 2 * (depth - closing)
            if len(line) - len(line.lstrip(" ")) != wanted or line != line.rstrip():
                problems.append(f"{path.name}, line {number}: not indented by {wanted}")
            depth += len(re.findall(r"[\[{]", outside))
            depth -= len(re.findall(r"[\]}]", outside))
        if not path.read_text("utf-8").endswith("}\n"):
            problems.append(f"{path.name}: does not end with one line break")
    return problems


# The manifest

_LOWER: Final = _must(str.islower, "not in lower case")
_VERSIONS: Final = [
    AwesomeVersionStrategy.CALVER,
    AwesomeVersionStrategy.SEMVER,
    AwesomeVersionStrategy.SIMPLEVER,
    AwesomeVersionStrategy.BUILDVER,
    AwesomeVersionStrategy.PEP440,
]


def _version(value: str) -> str:
    try:
        AwesomeVersion(value, ensure_strategy=_VERSIONS)
    except AwesomeVersionException as err:
        raise vol.Invalid(f"no version: {value!r}") from err
    return value


_MANIFEST: Final = vol.Schema(
    {
        vol.Required("domain"): cv.slug,
        vol.Required("name"): str,
        # HACS asks for these too.
        vol.Required("version"): vol.All(str, _version),
        vol.Required("documentation"): vol.All(str, vol.Match(r"^https://\S+$")),
        vol.Required("issue_tracker"): vol.All(str, vol.Match(r"^https://\S+$")),
        vol.Required("codeowners"): vol.All([vol.Match(r"^@\S+$")], vol.Length(min=1)),
        vol.Required("integration_type"): vol.In(
            ["device", "entity", "hardware", "helper", "hub", "service", "system"]
        ),
        vol.Required("iot_class"): vol.In(
            [
                "assumed_state",
                "calculated",
                "cloud_polling",
                "cloud_push",
                "local_polling",
                "local_push",
            ]
        ),
        vol.Optional("config_flow"): bool,
        vol.Optional("single_config_entry"): bool,
        vol.Optional("import_executor"): bool,
        vol.Optional("requirements"): [str],
        vol.Optional("dependencies"): [str],
        vol.Optional("after_dependencies"): [str],
        vol.Optional("loggers"): [str],
        vol.Optional("zeroconf"): [
            vol.Any(
                vol.Match(r"^_[a-z0-9-]+\._(tcp|udp)\.local\.$"),
                {
                    vol.Required("type"): vol.Match(
                        r"^_[a-z0-9-]+\._(tcp|udp)\.local\.$"
                    ),
                    vol.Optional("name"): vol.All(str, _LOWER),
                    vol.Optional("properties"): {str: vol.All(str, _LOWER)},
                },
            )
        ],
        vol.Optional("dhcp"): [
            {
                vol.Optional("macaddress"): vol.Match(r"^[0-9A-F]+\*$"),
                vol.Optional("hostname"): vol.All(str, _LOWER),
                vol.Optional("registered_devices"): bool,
            }
        ],
    }
)
_DISCOVERY: Final = ("zeroconf", "dhcp")


def manifest_problems(folder: Path) -> Problems:
    """Check the keys, their order and the domain."""
    manifest, problems = _json(folder / "manifest.json")
    problems += _problems("manifest.json", _MANIFEST, manifest)
    others = sorted(manifest.keys() - {"domain", "name"})
    if list(manifest) != ["domain", "name", *others]:
        problems.append("manifest.json: keys are not: domain, name, then by alphabet")
    domain = manifest.get("domain")
    if domain != folder.name:
        problems.append(f"manifest.json: domain {domain} is not that of the folder")
    if (CORE / "components" / str(domain)).exists():
        problems.append(f"manifest.json: domain {domain} is one of Home Assistant's")
    return problems


def requirement_problems(folder: Path) -> Problems:
    """See that requirements can be installed beside Home Assistant's own.

    All integrations share one environment: who pins a version, or excludes the one
    that Home Assistant has, breaks another.
    """
    problems = []
    pinned = dict(
        re.findall(
            r"^([\w.-]+)==(\S+)$",
            (CORE / "package_constraints.txt").read_text("utf-8"),
            re.MULTILINE,
        )
    )
    for text in _json(folder / "manifest.json")[0].get("requirements", []):
        try:
            requirement = Requirement(text)
        except InvalidRequirement as err:
            problems.append(f"{text}: {err}")
            continue
        operators = {each.operator for each in requirement.specifier}
        if operators != {">=", "<"}:
            problems.append(f"{text}: not from one version to before another")
        own = pinned.get(requirement.name)
        if own is not None and not requirement.specifier.contains(own):
            problems.append(f"{text}: Home Assistant has {own}")
    return problems


# The code


def _trees(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def _functions(path: Path) -> set[str]:
    """Return the functions and methods that a file defines."""
    if not path.exists():
        return set()
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


class _Components(ast.NodeVisitor):
    """Collects the components of Home Assistant that a file needs at run time."""

    def __init__(self) -> None:
        """Begin with none."""
        self.names: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if not node.level:
                self._add(f"{node.module}.{alias.name}")

    def _add(self, name: str) -> None:
        match name.split("."):
            case ["homeassistant", "components", component, *_]:
                self.names.add(component)


_ALWAYS_THERE: Final = {
    *(platform.value for platform in Platform),
    "homeassistant",
    "persistent_notification",
    "system_health",
    "websocket_api",
}

_IMPORT_OURS: Final = {"diagnostics", "repairs"}
"""They import the file that is called as they are, and only when they are there."""


def dependency_problems(folder: Path) -> Problems:
    """Every component that is imported is a dependency; every dependency exists."""
    manifest = _json(folder / "manifest.json")[0]
    first, after = (
        manifest.get(key, []) for key in ("dependencies", "after_dependencies")
    )
    problems = [
        f"manifest.json: dependency {name} does not exist"
        for name in (*first, *after)
        if not (CORE / "components" / name).exists()
    ]
    problems += [
        f"manifest.json: dependency {name} is there twice"
        for name in sorted({*first} & {*after})
    ]
    allowed = {*_ALWAYS_THERE, *first, *after, folder.name}
    allowed.update(key for key in _DISCOVERY if key in manifest)
    for path, tree in _trees(folder):
        components = _Components()
        components.visit(tree)
        problems += [
            f"{path.name}: {name} is not among the dependencies"
            for name in sorted(components.names - allowed)
            if not (name in _IMPORT_OURS and path.name == f"{name}.py")
        ]
    return problems


def code_problems(folder: Path) -> Problems:
    """Config flow, unique ids of what is discovered, CONFIG_SCHEMA."""
    manifest = _json(folder / "manifest.json")[0]
    flow, init = folder / "config_flow.py", folder / "__init__.py"
    problems = []
    if manifest.get("config_flow", False) != flow.exists():
        problems.append("config_flow.py: does not go with the manifest")
    for key in _DISCOVERY:
        if key not in manifest or not flow.exists():
            continue
        if f"async_step_{key}" not in _functions(flow):
            problems.append(f"config_flow.py: no step for {key}")
        if "async_set_unique_id" not in flow.read_text("utf-8"):
            problems.append(f"config_flow.py: {key} without a unique id")
    if "async_setup" in _functions(init) and not any(
        isinstance(node, ast.Assign | ast.AnnAssign)
        and "CONFIG_SCHEMA" in ast.dump(node)
        for node in ast.parse(init.read_text("utf-8")).body
    ):
        problems.append("__init__.py: async_setup without CONFIG_SCHEMA")
    return problems


# Translations


def _text(value: str) -> str:
    """Check a text that may have placeholders."""
    if not isinstance(value, str) or not value:
        raise vol.Invalid(f"no text: {value!r}")
    for pattern, what in (
        (r"<[a-zA-Z/!][^>]*>", "HTML"),
        (r"://|\bwww\.", "a URL"),
        (r"^\s|\s$", "a space at its end"),
        (r"'\{\w*\}'", "a placeholder in single quotes"),
        (r"\[%key:", "a reference, which only Home Assistant's own build resolves"),
    ):
        if re.search(pattern, value):
            raise vol.Invalid(f"a text with {what}: {value!r}")
    try:
        names = [name for _, name, _, _ in Formatter().parse(value) if name is not None]
    except ValueError as err:
        raise vol.Invalid(f"{err}: {value!r}") from err
    if not all(name.isidentifier() for name in names):
        raise vol.Invalid(f"a placeholder without a proper name: {value!r}")
    return value


def _fixed(value: str) -> str:
    """Check a text that may not have placeholders."""
    if "{" in _text(value):
        raise vol.Invalid(f"a placeholder where there can be none: {value!r}")
    return value


_KEY: Final = vol.All(
    str, vol.Match(r"^(?!.*[_-]{2})[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?$")
)
_TEXTS: Final = {str: _text}
_FORM: Final = {
    vol.Optional("data"): _TEXTS,
    vol.Optional("data_description"): _TEXTS,
    vol.Optional("description"): _text,
}


def _described(form: dict[str, Any]) -> dict[str, Any]:
    strangers = form.get("data_description", {}).keys() - form.get("data", {}).keys()
    if strangers:
        raise vol.Invalid(f"data_description without data: {sorted(strangers)}")
    return form


_FLOW: Final = {
    vol.Optional("flow_title"): _text,
    vol.Required("step"): {
        str: vol.All(
            {
                **_FORM,
                vol.Optional("title"): _text,
                vol.Optional("menu_options"): _TEXTS,
                vol.Optional("menu_option_descriptions"): _TEXTS,
                vol.Optional("submit"): _text,
                vol.Optional("sections"): {
                    str: vol.All({**_FORM, vol.Optional("name"): _text}, _described)
                },
            },
            _described,
        )
    },
    vol.Optional("error"): _TEXTS,
    vol.Optional("abort"): _TEXTS,
    vol.Optional("progress"): _TEXTS,
    vol.Optional("create_entry"): _TEXTS,
    vol.Optional("initiate_flow"): {vol.Required("user"): _text},
}
_NAMED: Final = {vol.Required("name"): _text, vol.Required("description"): _text}
_STATES: Final = {_KEY: _fixed}
_TRANSLATIONS: Final = vol.Schema(
    {
        vol.Optional("title"): _text,
        vol.Optional("config"): _FLOW,
        vol.Optional("options"): _FLOW,
        vol.Optional("selector"): {cv.slug: {vol.Optional("options"): {_KEY: _text}}},
        vol.Optional("device"): {_KEY: {vol.Required("name"): _text}},
        vol.Optional("entity"): {
            vol.In([platform.value for platform in Platform]): {
                _KEY: {
                    vol.Optional("name"): _text,
                    vol.Optional("state"): _STATES,
                    vol.Optional("unit_of_measurement"): _fixed,
                    vol.Optional("state_attributes"): {
                        _KEY: {
                            vol.Optional("name"): _fixed,
                            vol.Optional("state"): _STATES,
                        }
                    },
                }
            }
        },
        vol.Optional("exceptions"): {cv.slug: {vol.Required("message"): _text}},
        vol.Optional("issues"): {
            str: vol.Any(
                {vol.Required("title"): _text, vol.Required("description"): _text},
                {vol.Required("title"): _text, vol.Required("fix_flow"): _FLOW},
            )
        },
        vol.Optional("services"): {
            _KEY: {
                **_NAMED,
                vol.Optional("fields"): {_KEY: _NAMED},
                vol.Optional("sections"): {_KEY: {vol.Required("name"): _text}},
            }
        },
        vol.Optional("system_health"): {vol.Optional("info"): {_KEY: _text}},
    }
)


def translation_problems(folder: Path) -> Problems:
    """Every language has the form that Home Assistant's English has."""
    texts = folder / "translations"
    problems = [] if (texts / "en.json").exists() else ["translations: no en.json"]
    for path in sorted(texts.glob("*.json")):
        data, found = _json(path)
        problems += found + _problems(path.name, _TRANSLATIONS, data)
    return problems


# Icons


def known_icons() -> set[str]:
    """Return the icons that the frontend has."""
    spec = find_spec("hass_frontend")
    assert spec is not None
    assert spec.origin is not None
    names = Path(spec.origin).parent / "static/mdi/iconList.json"
    return {f"mdi:{icon['name']}" for icon in json.loads(names.read_text("utf-8"))}


_ICON: Final = vol.All(str, vol.In(known_icons(), msg="no icon of the frontend"))
_NUMBER: Final = vol.All(str, vol.Match(r"^-?\d+(\.\d+)?$"))


def _not_the_default(icons: dict[str, Any]) -> dict[str, Any]:
    if icons.get("default") in {
        *icons.get("state", {}).values(),
        *icons.get("range", {}).values(),
    }:
        raise vol.Invalid(f"an icon repeats the default: {icons['default']}")
    return icons


_ENTITY_ICONS: Final = {
    vol.Optional("default"): _ICON,
    vol.Optional("state"): {_KEY: _ICON},
    vol.Optional("range"): {_NUMBER: _ICON},
}
_ICONS: Final = vol.Schema(
    {
        vol.Optional("entity"): {
            vol.In([platform.value for platform in Platform]): {
                _KEY: vol.All(
                    {
                        **_ENTITY_ICONS,
                        vol.Optional("state_attributes"): {
                            _KEY: vol.All(_ENTITY_ICONS, _not_the_default)
                        },
                    },
                    _not_the_default,
                )
            }
        },
        vol.Optional("services"): {
            _KEY: {
                vol.Required("service"): _ICON,
                vol.Optional("sections"): {_KEY: _ICON},
            }
        },
    }
)


def icon_problems(folder: Path) -> Problems:
    """Icons that there are, for entities and states that there are."""
    icons, problems = _json(folder / "icons.json")
    problems += _problems("icons.json", _ICONS, icons)
    english = _json(folder / "translations/en.json")[0].get("entity", {})
    for platform, entities in icons.get("entity", {}).items():
        for key, entity in entities.items():
            named = english.get(platform, {}).get(key)
            if named is None:
                problems.append(f"icons.json: {platform}.{key} has no translation")
                continue
            problems += [
                f"icons.json: {platform}.{key} has no state {state}"
                for state in entity.get("state", {}).keys()
                - named.get("state", {}).keys()
            ]
    return problems


# Actions

_SERVICES: Final = vol.Schema(
    {
        cv.slug: {
            vol.Optional("target"): vol.Any(
                selector.TargetSelector.CONFIG_SCHEMA, None
            ),
            vol.Optional("fields"): {
                cv.slug: {
                    vol.Optional("required"): bool,
                    vol.Optional("example"): vol.Any(str, int, float),
                    vol.Optional("default"): vol.Any(str, int, float),
                    vol.Required("selector"): selector.validate_selector,
                }
            },
        }
    }
)


def service_problems(folder: Path) -> Problems:
    """Actions are described in services.yaml, named in English, and have an icon."""
    try:
        services = load_yaml_dict(folder / "services.yaml")
    except FileNotFoundError:
        registers = any(".async_register(" in ast.unparse(t) for _, t in _trees(folder))
        return ["services.yaml: is missing"] if registers else []
    except HomeAssistantError as err:
        return [f"services.yaml: {err}"]
    problems = _problems("services.yaml", _SERVICES, services)
    texts = _json(folder / "translations/en.json")[0].get("services", {})
    icons = _json(folder / "icons.json")[0].get("services", {})
    for what, others in (("translation", texts), ("icon", icons)):
        problems += [
            f"services.yaml: {name} has no {what}, or is not there"
            for name in sorted(services.keys() ^ others.keys())
        ]
    for name in services.keys() & texts.keys():
        fields = (services[name] or {}).get("fields", {}).keys()
        problems += [
            f"services.yaml: {name}.{field} has no translation, or is not there"
            for field in sorted(fields ^ texts[name].get("fields", {}).keys())
        ]
    return problems


# The quality scale

RULES: Final[Mapping[str, tuple[str, ...]]] = {
    "bronze": (
        "action-setup",
        "appropriate-polling",
        "brands",
        "common-modules",
        "config-flow-test-coverage",
        "config-flow",
        "dependency-transparency",
        "docs-actions",
        "docs-conditions",
        "docs-high-level-description",
        "docs-installation-instructions",
        "docs-removal-instructions",
        "docs-triggers",
        "entity-event-setup",
        "entity-unique-id",
        "has-entity-name",
        "runtime-data",
        "test-before-configure",
        "test-before-setup",
        "unique-config-entry",
    ),
    "silver": (
        "action-exceptions",
        "config-entry-unloading",
        "docs-configuration-parameters",
        "docs-installation-parameters",
        "entity-unavailable",
        "integration-owner",
        "log-when-unavailable",
        "parallel-updates",
        "reauthentication-flow",
        "test-coverage",
    ),
    "gold": (
        "devices",
        "diagnostics",
        "discovery-update-info",
        "discovery",
        "docs-data-update",
        "docs-examples",
        "docs-known-limitations",
        "docs-supported-devices",
        "docs-supported-functions",
        "docs-troubleshooting",
        "docs-use-cases",
        "dynamic-devices",
        "entity-category",
        "entity-device-class",
        "entity-disabled-by-default",
        "entity-translations",
        "exception-translations",
        "icon-translations",
        "reconfiguration-flow",
        "repair-issues",
        "stale-devices",
    ),
    "platinum": ("async-dependency", "inject-websession", "strict-typing"),
}
_COMMENT: Final = vol.All(str, vol.Length(min=20))
_QUALITY: Final = vol.Schema(
    {
        vol.Required("rules"): {
            vol.Required(rule): vol.Any(
                "done",
                {vol.Required("status"): "done", vol.Optional("comment"): _COMMENT},
                {
                    vol.Required("status"): vol.In(["todo", "exempt"]),
                    vol.Required("comment"): _COMMENT,
                },
            )
            for rules in RULES.values()
            for rule in rules
        }
    }
)


def quality(folder: Path) -> dict[str, str]:
    """Return the status of each rule."""
    rules = load_yaml_dict(folder / "quality_scale.yaml").get("rules", {})
    return {
        rule: entry if isinstance(entry, str) else entry["status"]
        for rule, entry in rules.items()
    }


def _every_platform_limits_updates(folder: Path) -> bool:
    paths = [folder / f"{platform}.py" for platform in Platform]
    return all(
        re.search(r"^PARALLEL_UPDATES = \d+$", path.read_text("utf-8"), re.MULTILINE)
        for path in paths
        if path.exists()
    )


def _has(file: str, *functions: str) -> Callable[[Path], bool]:
    return lambda folder: bool(_functions(folder / file).intersection(functions))


def _says(file: str, text: str) -> Callable[[Path], bool]:
    return lambda folder: text in (folder / file).read_text("utf-8")


_SIGNS: Final[Mapping[str, Callable[[Path], bool]]] = {
    "action-setup": _says("__init__.py", "async def async_setup("),
    "brands": lambda folder: (folder / "brand/icon.png").exists(),
    "config-entry-unloading": _has("__init__.py", "async_unload_entry"),
    "config-flow": _has("config_flow.py", "async_step_user"),
    "diagnostics": _has(
        "diagnostics.py",
        "async_get_config_entry_diagnostics",
        "async_get_device_diagnostics",
    ),
    "discovery": _has("config_flow.py", *(f"async_step_{key}" for key in _DISCOVERY)),
    "parallel-updates": _every_platform_limits_updates,
    "reauthentication-flow": _has("config_flow.py", "async_step_reauth"),
    "reconfiguration-flow": _has("config_flow.py", "async_step_reconfigure"),
    "repair-issues": lambda folder: (folder / "repairs.py").exists(),
    "runtime-data": _says("__init__.py", "entry.runtime_data = "),
    "strict-typing": lambda folder: (folder / "py.typed").exists(),
    "unique-config-entry": _says("config_flow.py", "_abort_if_unique_id_configured("),
}
"""Where code can tell, without being run, that a rule cannot have been followed."""


def quality_problems(folder: Path) -> Problems:
    """Every rule has a status, every exemption a reason; what is done shows."""
    path = folder / "quality_scale.yaml"
    if not path.exists():
        return ["quality_scale.yaml: is missing"]
    data = load_yaml_dict(path)
    if problems := _problems(path.name, _QUALITY, data):
        return problems
    statuses = quality(folder)
    return [
        f"quality_scale.yaml: {rule} is said to be done, and is not"
        for rule, shows in _SIGNS.items()
        if statuses[rule] == "done" and not shows(folder)
    ]


# Pictures

_SIZES: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "icon.png": lambda width, height: width == height == 256,
    "icon@2x.png": lambda width, height: width == height == 512,
    "logo.png": lambda width, height: 128 <= height <= 256 and width > height,
    "logo@2x.png": lambda width, height: 256 <= height <= 512 and width > height,
}


def brand_problems(folder: Path) -> Problems:
    """See that the pictures are there, in their sizes, PNG, with transparency."""
    brand, problems = folder / "brand", []
    names = {f"{kind}{name}" for kind in ("", "dark_") for name in _SIZES}
    found = {path.name for path in brand.glob("*")}
    problems += [f"brand: {name} is missing" for name in sorted(names - found)]
    problems += [f"brand: {name} is not used" for name in sorted(found - names)]
    for name in sorted(names & found):
        with Image.open(brand / name) as image:
            if image.format != "PNG":
                problems.append(f"brand: {name} is {image.format}")
            if not _SIZES[name.removeprefix("dark_")](*image.size):
                problems.append(f"brand: {name} is {image.width} by {image.height}")
            lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
            if lowest != 0:
                problems.append(f"brand: {name} has no transparency")
    return problems


# HACS

_HACS: Final = vol.Schema(
    {
        vol.Required("name"): vol.All(str, vol.Length(min=1)),
        vol.Required("homeassistant"): vol.All(str, _version),
        vol.Optional("hacs"): vol.All(str, _version),
        vol.Optional("content_in_root"): bool,
        vol.Optional("zip_release"): bool,
        vol.Optional("filename"): vol.Match(r"^[\w-]+\.zip$"),
        vol.Optional("hide_default_branch"): bool,
        vol.Optional("country"): vol.Any(str, [str]),
        vol.Optional("persistent_directory"): str,
    }
)


def hacs_problems(folder: Path) -> Problems:
    """hacs.json has known keys; one integration, in its place; a page to show."""
    data, problems = _json(folder / "hacs.json")
    problems += _problems("hacs.json", _HACS, data)
    if data.get("zip_release", False) != ("filename" in data):
        problems.append("hacs.json: zip_release and filename go together")
    integrations = [
        path.parent for path in folder.glob("custom_components/*/manifest.json")
    ]
    if len(integrations) != 1:
        problems.append(f"custom_components: {len(integrations)} integrations")
    problems += [
        f"{name}: is missing" for name in ("README.md",) if not (folder / name).exists()
    ]
    return problems


OF_INTEGRATION: Final[tuple[Check, ...]] = (
    json_problems,
    manifest_problems,
    requirement_problems,
    dependency_problems,
    code_problems,
    translation_problems,
    icon_problems,
    service_problems,
    quality_problems,
    brand_problems,
)
"""The checks that take the folder of an integration."""
