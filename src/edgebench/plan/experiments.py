"""From an experiment to its table at one scale."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.errors import ConfigError, nearest
from edgebench.plan.chains import Chain, evaluation_run
from edgebench.plan.claims import parse_claims
from edgebench.plan.definitions import Experiment, Group, Protocol, Recipe, Row, Scale
from edgebench.plan.groups import group_rows, printed_in, row_name, without_doubles
from edgebench.plan.merging import leaves, nested
from edgebench.plan.methods import settings_class
from edgebench.plan.published import Published, footnotes, printed_row, published_rows, values
from edgebench.plan.reading import validate
from edgebench.plan.resolve import Layer, released_of, resolve
from edgebench.plan.settings import Settings, checkpoint_fields
from edgebench.plan.tables import FIGURES, SeedRuns, Table, TableRow

if TYPE_CHECKING:
    from edgebench.plan.workbench import Workbench

Map = dict[str, Any]

COLUMNS_OF = {
    "edges": ["ods", "ois", "ap"],
    "crispness": [""],
    "perceptual": ["fid", "lpips"],
    # `METRICS` of edgebench.metrics.masks, which cannot be asked without numpy.
    "masks": [
        "max_f",
        "mean_f",
        "adaptive_f",
        "weighted_f",
        "s_measure",
        "max_e",
        "mean_e",
        "adaptive_e",
        "mae",
        "hce",
        "biou",
        "iou",
    ],
    "outlines": ["mae", "iou"],
    # `INSTANCE_METRICS` of edgebench.metrics.instances, likewise.
    "instances": [
        *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
        *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
    ],
    "panoptic": [f"{quality}{classes}" for classes in ("", "_things", "_stuff") for quality in ("pq", "sq", "rq")],
    "instance_edges": ["ods", "ois", "ap", "cldice", "cldice_plain"],
}
"""What each method of scoring gives, after the prefix of its protocol."""
RECORD_COLUMNS = [
    "seconds_per_image",
    "added_params_percent",
    *(f"{role}_seconds_per_image" for role in ("edges", "labels")),
    *("edge_share", "interior_share", "unknown_share", "guarded", "kept_tau"),
]
"""What the records of runs give: the scored run's, that of the edges it was given, that of the labels behind them."""


class TableMaker:
    """Makes the table of one experiment at one scale.

    Args:
        bench: All definitions.
        name: The experiment, `PAPER/TABLE`.
        scale_name: Name of the scale.
        scale: Its definition.

    Raises:
        ConfigError: the experiment shows a column or a figure that there is not.
    """

    def __init__(self, bench: Workbench, name: str, scale_name: str, scale: Scale) -> None:
        self.bench, self.name, self.scale_name, self.scale = bench, name, scale_name, scale
        self.experiment = bench.experiment(name)
        self.where = f"config/experiments/{name}.yaml"
        self.protocols = {each: bench.protocol(each) for each in self.experiment.protocol}
        _check_shown(self.experiment, self.protocols, self.where)

    def table(self) -> Table:
        """The table with the runs of all its rows.

        Raises:
            ConfigError: a row, a section or a claim is wrong, or settings that do not go together.
        """
        experiment, plain = self.experiment, _all_rows(self.experiment, self.where)
        if experiment.groups:
            rows = [row for group in experiment.groups for row in self._section(plain, group)]
            experiment, rows = without_doubles(experiment, rows)
        else:
            rows = self._rows(plain, self._printed())
        try:
            parse_claims(experiment.claims, [row.key for row in rows if row.reproduced], experiment.columns)
        except ConfigError as error:
            raise ConfigError(f"{self.where}: {error}") from None
        used = dict.fromkeys(row.recipe or experiment.recipe for row in plain)
        recipes = dict.fromkeys(name for recipe in used for name, _ in self.bench.recipe_chain(recipe))
        return Table(self.name, self.scale_name, self.scale, experiment, rows, list(recipes))

    def _section(self, plain: list[Row], group: Group) -> list[TableRow]:
        printed = printed_in(self._printed(), group, self.where)
        return self._rows(group_rows(plain, group, self._scored, self.where), printed, group)

    def _scored(self, row: Row) -> str:
        """Role of the run that is scored of a row."""
        return self.bench.recipe_chain(row.recipe or self.experiment.recipe)[-1][1].evaluates

    def _rows(self, rows: list[Row], printed: list[Published], group: Group | None = None) -> list[TableRow]:
        """The rows of a table without sections, or of one section; first those that are printed only."""
        quoted = group is None or group.printed is not None
        beside = {
            row.key: printed_row(printed, row.published, f"{self.where}: row '{row.key}'") if quoted else []
            for row in rows
        }
        reproduced = [self._row(row, beside[row.key], group) for row in rows]
        if not self.experiment.printed_only:
            return reproduced
        taken = {line.row for lines in beside.values() for line in lines}
        return [*_printed_only([line for line in printed if line.row not in taken], group), *reproduced]

    def _row(self, row: Row, beside: list[Published], group: Group | None) -> TableRow:
        if group is None or not group.members:
            seeds = self.experiment.seeds or self.bench.config.seeds
            runs = [self._seed_runs(row, seed) for seed in seeds]
            return TableRow(
                row.key, row.label, values(beside), runs, footnotes(beside), group=group.key if group else ""
            )
        members = [f"{member}/{row_name(row.key)}" for member in group.members]
        return TableRow(row.key, row.label, values(beside), [], footnotes(beside), group.key, group.combines, members)

    def _printed(self) -> list[Published]:
        shows = self.experiment.shows
        if shows.table is None:
            return []
        return _published(self.bench.root / "config" / "published" / f"{shows.paper}.csv", shows.table)

    def _seed_runs(self, row: Row, seed: int) -> SeedRuns:
        recipes = self.bench.recipe_chain(row.recipe or self.experiment.recipe)
        overrides = _without_own(self.bench.config.set, row)
        layers = self._layers(recipes, row, overrides)
        settings = resolve(layers)
        changed = {key: value for key, value in overrides.items() if _has_key(settings, key.replace("!", ""))}
        does_without = self._do_without(settings)
        released = released_of(layers, settings)
        for role, name in released.items():
            self.bench.check_checkpoint(f"{self.where}: '{role}.released'", name)
        if self.bench.config.checkpoints == "pull":
            settings |= self._pulled(released, settings)
        last_name, last = recipes[-1]
        if last.evaluates not in settings:
            raise ConfigError(f"config/recipes/{last_name}.yaml: evaluates '{last.evaluates}', not one of its runs.")
        chain = Chain(self.bench, settings, self.scale_name, self.scale, seed, self.where, does_without)
        predict = chain.run(last.evaluates)
        evaluations = {name: evaluation_run(self.bench, predict, protocol) for name, protocol in self.protocols.items()}
        return SeedRuns(seed, predict, evaluations, changed)

    def _layers(self, recipes: list[tuple[str, Recipe]], row: Row, overrides: Map) -> list[Layer]:
        """Everything that sets something for a row, the lowest first."""
        roles: set[str] = set()
        for _, recipe in recipes:
            roles = (roles | recipe.runs.keys()) - {role for role, settings in recipe.runs.items() if settings is None}
        for_all = {role: value for role, value in self.experiment.runs.items() if role in roles or row.recipe is None}
        scale = f"config/scales/{self.scale_name}.yaml"
        return [
            *(Layer(f"config/recipes/{name}.yaml", recipe.runs, "recipe") for name, recipe in recipes),
            Layer(self.where, for_all),
            Layer(f"{self.where}: row '{row.key}'", nested(row.set), "row"),
            Layer(f"{scale}: every", dict.fromkeys(sorted(roles), self.scale.every), "every"),
            *(Layer(scale, _of_roles(self.scale.recipes.get(name, {}), roles), "scale") for name, _ in recipes),
            Layer("the command line", _of_roles(nested(overrides), roles), "override"),
        ]

    def _do_without(self, settings: dict[str, Settings]) -> dict[str, tuple[str, ...]]:
        """Set to null what names a checkpoint that the scale leaves out, unless the command line names it.

        Returns:
            Names of the checkpoints by role.
        """
        left_out: dict[str, tuple[str, ...]] = {}
        for role, each in settings.items():
            named = {key: getattr(each, key) for key in sorted(checkpoint_fields(type(each)))}
            dropped = {
                key: name
                for key, name in named.items()
                if name in self.scale.without_checkpoints and f"{role}.{key}" not in self.bench.config.set
            }
            if dropped:
                content = each.model_dump(exclude_unset=True) | dict.fromkeys(dropped)
                settings[role] = validate(type(each), content, f"the run '{role}' without {', '.join(dropped)}")
                left_out[role] = tuple(dict.fromkeys(dropped.values()))
        return left_out

    def _pulled(self, released: dict[str, str], settings: dict[str, Settings]) -> dict[str, Settings]:
        """Settings of the runs that a released checkpoint takes the place of."""
        pulled: dict[str, Settings] = {}
        for role, name in released.items():
            definition = self.bench.checkpoint(name)
            # A network that a scale made smaller cannot start from the authors' weights.
            fits = all(
                getattr(each, "preset", None) == definition.preset
                for other, each in settings.items()
                if getattr(each, "start", None) == role and other not in released
            )
            if fits:
                method = self.bench.converter(name)
                model = settings_class("train", method, f"config/checkpoints/{name}.yaml")
                pulled[role] = model.model_validate({"stage": "train", "method": method, "checkpoint": name})
        return pulled


def _without_own(changes: Map, row: Row) -> Map:
    """Changes of the command line without the keys that the row sets itself: what tells rows apart stays."""
    own = leaves(nested(row.set))
    return {key: value for key, value in changes.items() if key.replace("!", "") not in own}


def _of_roles(content: Map, roles: set[str]) -> Map:
    return {role: each for role, each in content.items() if role in roles}


def _has_key(settings: dict[str, Settings], dotted: str) -> bool:
    """Whether a key such as `train.steps` means something to these runs."""
    role, _, key = dotted.partition(".")
    return role in settings and key.partition(".")[0] in type(settings[role]).model_fields


@cache
def _published(path: Path, table: str) -> list[Published]:
    return published_rows(path, table)


def _printed_only(printed: list[Published], group: Group | None) -> list[TableRow]:
    """Rows of printed numbers alone, in printed order."""
    found: dict[str, list[Published]] = {}
    for line in printed:
        if line.value is not None:
            found.setdefault(line.row, []).append(line)
    prefix, of = (f"{group.key}/", group.key) if group else ("", "")
    return [
        TableRow(f"{prefix}printed: {name}", name, values(lines), [], footnotes(lines), of)
        for name, lines in found.items()
    ]


def _all_rows(experiment: Experiment, where: str) -> list[Row]:
    rows = list(experiment.rows)
    names = list(experiment.matrix)
    for combination in itertools.product(*experiment.matrix.values()) if names else ():
        chosen = dict(zip(names, combination, strict=True))
        if any(all(chosen.get(key) == value for key, value in left_out.items()) for left_out in experiment.without):
            continue
        key = ",".join(str(value) for value in combination)
        label = _fill(experiment.row or ", ".join(f"{{{name}}}" for name in names), chosen, where)
        rows.append(Row(key=key, label=label, set=chosen, published=experiment.published.get(key, {})))
    keys = [row.key for row in rows]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ConfigError(f"{where}: the row keys {sorted(twice)} appear twice.")
    if not rows:
        raise ConfigError(f"{where}: no rows. Give 'matrix' or 'rows'.")
    for key in experiment.published:
        if key not in keys:
            raise ConfigError(f"{where}: published: unknown row '{key}'.{nearest(key, keys)}")
    for left_out in experiment.without:
        for key in left_out:
            if key not in names:
                raise ConfigError(f"{where}: without: unknown key '{key}'.{nearest(key, names)}")
    return rows


def _fill(template: str, values: Map, where: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ConfigError(f"{where}: row: unknown key '{match[1]}'.{nearest(match[1], values)}")
        return str(values[match[1]])

    return re.sub(r"\{([^}]+)\}", value, template)


def _check_shown(experiment: Experiment, protocols: dict[str, Protocol], where: str) -> None:
    known = list(RECORD_COLUMNS)
    for protocol in protocols.values():
        known += [f"{protocol.columns}_{each}".strip("_") for each in COLUMNS_OF[protocol.method]]
    for column in experiment.columns:
        if column not in known:
            raise ConfigError(f"{where}: columns: none of its protocols gives '{column}'.{nearest(column, known)}")
    for figure in experiment.figures:
        if figure not in FIGURES:
            raise ConfigError(f"{where}: figures: unknown figure '{figure}'.{nearest(figure, FIGURES)}")
