"""`edgebench evaluate ...`: score predictions that lie in a folder, whoever made them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebench.errors import ConfigError
from edgebench.files import require_writable

if TYPE_CHECKING:
    from edgebench.stages.evaluate_edges import EdgeEvaluation
    from edgebench.stages.evaluate_instance_edges import InstanceEdgeEvaluation
    from edgebench.stages.evaluate_instances import InstanceEvaluation
    from edgebench.stages.evaluate_masks import MaskEvaluation
    from edgebench.stages.evaluate_panoptic import PanopticEvaluation

app = typer.Typer(no_args_is_help=True, help="Score predictions that lie in a folder, whoever made them.")


class Protocol(StrEnum):
    """Protocols for edges."""

    seval = "seval"
    ceval = "ceval"


class Nms(StrEnum):
    """Kinds of non-maximum suppression."""

    none = "none"
    dollar = "dollar"


class MaskProtocols(StrEnum):
    """Protocols for masks."""

    standard = "standard"
    diffdis = "diffdis"


Scores = Annotated[Path, typer.Option(help="Where to write the scores (JSON).")]
Thresholds = Annotated[int, typer.Option(help="Number of thresholds, equally spaced in (0, 1).")]
Jobs = Annotated[int, typer.Option(help="Processes. The scores do not depend on it.")]

_CLDICE = ("cldice", "cldice_plain")


@app.callback()
def _evaluate() -> None:
    """Score predictions that lie in a folder, whoever made them."""


@app.command()
def edges(
    predictions: Annotated[
        Path,
        typer.Option(help="Folder of edge maps, bright = edge: ID.png (8 or 16 bit), ID.npy or ID.mat (ucm2)."),
    ],
    ground_truth: Annotated[
        Path,
        typer.Option(help="Folder of annotations: ID.mat as in BSDS500, ID.png, or ID/ANNOTATOR.png."),
    ],
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="seval: non-maximum suppression and thinning first, the usual benchmark. "
            "ceval: the map as it is, so thick lines cost precision."
        ),
    ],
    output: Scores,
    nms: Annotated[
        Nms | None,
        typer.Option(
            help="Non-maximum suppression of the soft map. Default: dollar for seval, none for ceval. "
            "Use none with seval for maps that are thin already, such as gPb-owt-ucm."
        ),
    ] = None,
    max_distance: Annotated[
        float,
        typer.Option(
            help="How far matched pixels may lie apart, as a fraction of the diagonal: "
            "0.0075 on BSDS500, 0.011 on NYUD."
        ),
    ] = 0.0075,
    thresholds: Thresholds = 99,
    jobs: Jobs = 1,
    counts: Annotated[
        Path | None,
        typer.Option(help="Where to write the counts per image and threshold (.npz), if anywhere."),
    ] = None,
) -> None:
    """Score edge maps against human boundaries: ODS, OIS, AP and crispness (AC).

    ODS is the F at the one threshold that suits the whole set, OIS lets every image choose its own, AP is the
    area under the precision-recall curve, AC the share of a raw map's mass on one-pixel lines.

    Example: edgebench evaluate edges --predictions maps --ground-truth groundTruth/test --protocol seval
    --output scores.json
    """
    from edgebench.stages.evaluate_edges import evaluate_folders, write_counts, write_scores

    _require_places(output, counts)
    evaluation = evaluate_folders(
        predictions,
        ground_truth,
        protocol.value,
        nms.value if nms else None,
        max_distance,
        thresholds,
        jobs,
    )
    write_scores(output, evaluation)
    if counts:
        write_counts(counts, evaluation)
    _print(evaluation, [output, *([counts] if counts else [])])


@app.command()
def masks(
    predictions: Annotated[
        Path,
        typer.Option(
            help="Folder of predicted masks, bright = foreground: ID.png (8 or 16 bit; or jpg, bmp, tif, npy)."
        ),
    ],
    ground_truth: Annotated[
        Path,
        typer.Option(
            help="Folder of masks by the same names, foreground = 255. Of a mask with levels between, foreground is "
            "what lies above 128 (standard) or above half of its brightest level (diffdis)."
        ),
    ],
    protocol: Annotated[
        MaskProtocols,
        typer.Option(
            help="standard: the grey prediction, stretched to all levels, which must have the mask's size; the usual "
            "evaluators of salient objects do so. "
            "diffdis: resized to the mask, stretched, cut at one half before every metric, as the authors' scorer."
        ),
    ],
    output: Scores,
    jobs: Jobs = 1,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Go on without images that only one of the folders has.")
    ] = False,
    skeletons: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps the masks' skeletons, which halves the time of every later run."),
    ] = None,
    counts: Annotated[
        Path | None,
        typer.Option(help="Where to write scores and counts per image (.npz), if anywhere."),
    ] = None,
) -> None:
    """Score masks against ground truth: F, weighted F, S, E, MAE, correction effort (HCE), IoU.

    Max and mean F and E are those of the curve averaged over all images; everything else is averaged over the
    images for which it is defined. HCE counts the clicks that would correct a mask; MAE and HCE are better when
    smaller. IoU is that of the masks (iou) and of their outlines (biou).

    Example: edgebench evaluate masks --predictions out/DIS-VD --ground-truth DIS5K/DIS-VD/gt --protocol standard
    --output scores.json
    """
    from edgebench.stages.evaluate_masks import evaluate_folders, write_counts, write_scores

    _require_places(output, counts)
    if predictions.resolve() == ground_truth.resolve():
        print(
            f"Warning: {predictions} is given as predictions and as ground truth, so the masks are scored against "
            f"themselves.",
            file=sys.stderr,
        )
    if skeletons and skeletons.exists() and not skeletons.is_dir():
        raise ConfigError(f"{skeletons}: is a file, where a folder for skeletons was expected. Give another name.")
    evaluation = evaluate_folders(predictions, ground_truth, protocol.value, jobs, skip_missing, skeletons)
    write_scores(output, evaluation)
    if counts:
        write_counts(counts, evaluation)
    _print_masks(evaluation, [output, *([counts] if counts else [])])


@app.command()
def panoptic(
    predictions: Annotated[
        Path, typer.Option(help="JSON file of the predictions: annotations with image_id, file_name, segments_info.")
    ],
    prediction_dir: Annotated[
        Path,
        typer.Option(
            help="Folder of their PNG files. A segment's colour is its id: R + 256 G + 65536 B; black = none."
        ),
    ],
    ground_truth: Annotated[
        Path, typer.Option(help="JSON file of the ground truth, likewise, with the categories and their isthing.")
    ],
    ground_truth_dir: Annotated[Path, typer.Option(help="Folder of its PNG files.")],
    output: Scores,
    jobs: Jobs = 1,
) -> None:
    """Score panoptic segmentations in COCO's format: PQ, SQ and RQ over all classes, things and stuff.

    Segments of one class match when their intersection over union is above one half. RQ is the F of the matching,
    SQ the mean intersection over union of what matches, PQ their product; n is the number of classes that occur,
    over which they are averaged. Void and crowd regions are treated as by panopticapi.

    Example: edgebench evaluate panoptic --predictions out/panoptic.json --prediction-dir out/panoptic
    --ground-truth panoptic_val2017.json --ground-truth-dir panoptic_val2017 --output scores.json
    """
    from edgebench.stages.evaluate_panoptic import evaluate_panoptic, write_scores

    _require_places(output, None)
    for path in (predictions, ground_truth):
        if path.resolve() == output.resolve():
            raise ConfigError(f"{output}: is given as input and as output. Give the scores another name.")
    if predictions.resolve() == ground_truth.resolve():
        print(
            f"Warning: {predictions} is given as predictions and as ground truth, so it is scored against itself.",
            file=sys.stderr,
        )
    evaluation = evaluate_panoptic(predictions, prediction_dir, ground_truth, ground_truth_dir, jobs)
    write_scores(output, evaluation)
    _print_panoptic(evaluation, output)


@app.command()
def instances(
    predictions: Annotated[
        Path,
        typer.Option(
            help="COCO results (JSON): a list of image_id, segmentation, score, and category_id with --per-class."
        ),
    ],
    ground_truth: Annotated[
        Path,
        typer.Option(help="COCO ground truth (JSON): images, annotations, categories."),
    ],
    output: Scores,
    class_agnostic: Annotated[
        bool,
        typer.Option(
            "--class-agnostic/--per-class",
            help="Take all categories for one, as unsupervised methods are scored, or average over categories.",
        ),
    ] = True,
) -> None:
    """Score instance masks against COCO ground truth: AP and AR, also by size.

    A segmentation is run lengths, compressed or not, or polygons, at the size of its image. AP is averaged over
    IoU 0.50 to 0.95; of each image the 100 masks with the highest scores count. As in COCO's own evaluator,
    predictions are small, medium or large by their bbox where they have one, else by their mask.

    Example: edgebench evaluate instances --predictions masks.json --ground-truth instances_val2017.json
    --output scores.json
    """
    from edgebench.stages.evaluate_instances import evaluate_instances, write_scores

    require_writable(output)
    if output.resolve() in (predictions.resolve(), ground_truth.resolve()):
        raise ConfigError(f"{output}: is read by this command, so it cannot take the scores. Give another name.")
    evaluation = evaluate_instances(predictions, ground_truth, class_agnostic)
    if not evaluation.n_predictions:
        print(f"Warning: {predictions} holds no mask, so nothing was found in any image.", file=sys.stderr)
    write_scores(output, evaluation)
    _print_instances(evaluation, output)


@app.command()
def instance_edges(
    predictions: Annotated[
        Path,
        typer.Option(
            help="Folder of edge maps, bright = edge: ID.png (8 or 16 bit), ID.npy or ID.mat (ucm2), called like the "
            "images or like the PNG files of the ground truth."
        ),
    ],
    ground_truth: Annotated[Path, typer.Option(help="Panoptic ground truth (JSON), such as panoptic_val2017.json.")],
    ground_truth_dir: Annotated[Path, typer.Option(help="Folder of its PNG files.")],
    output: Scores,
    nms: Annotated[
        Nms,
        typer.Option(help="Non-maximum suppression of the soft map; maps are thinned after thresholding in any case."),
    ] = Nms.dollar,
    max_distance: Annotated[
        float, typer.Option(help="How far matched pixels may lie apart, as a fraction of the diagonal.")
    ] = 0.0075,
    thresholds: Thresholds = 99,
    void: Annotated[
        bool, typer.Option("--void", help="Take the border of unlabelled regions for an edge as well.")
    ] = False,
    jobs: Jobs = 1,
    counts: Annotated[
        Path | None,
        typer.Option(help="Where to write counts and clDice per image (.npz), if anywhere."),
    ] = None,
) -> None:
    """Score edge maps against the borders between panoptic segments: ODS, OIS, AP and clDice.

    The ground truth is the lines of one pixel where two segments meet. Matching is that of `evaluate edges`, seval.
    clDice compares centre lines with the map cut at the threshold of ODS: cldice forgives the distance that matching
    forgives, cldice_plain none, which leaves thin lines little.

    Example: edgebench evaluate instance-edges --predictions maps --ground-truth panoptic_val2017.json
    --ground-truth-dir panoptic_val2017 --output scores.json
    """
    from edgebench.stages.evaluate_instance_edges import evaluate_folder, write_counts, write_scores

    _require_places(output, counts)
    if ground_truth.resolve() in (output.resolve(), counts and counts.resolve()):
        raise ConfigError(f"{ground_truth}: is given as input and as output. Give the scores another name.")
    evaluation = evaluate_folder(
        predictions, ground_truth, ground_truth_dir, nms.value, max_distance, thresholds, void, jobs
    )
    write_scores(output, evaluation)
    if counts:
        write_counts(counts, evaluation)
    _print_instance_edges(evaluation, [output, *([counts] if counts else [])])


def _require_places(output: Path, counts: Path | None) -> None:
    """Find out before long work whether both files can be written, and that they are two."""
    for path in filter(None, (output, counts)):
        require_writable(path)
    if counts and counts.resolve() == output.resolve():
        raise ConfigError(f"{counts}: is given for the scores and for the counts. Give two names.")


def _print_masks(evaluation: MaskEvaluation, written: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    count = len(evaluation.ids)
    table = Table(title=f"{evaluation.protocol.name}, {count} image{'s' if count > 1 else ''}")
    console = Console()
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in evaluation.scores().items():
        table.add_row(name, "-" if value is None else f"{value:.{1 if name == 'hce' else 4}f}")
    console.print(table)
    for ids, what in (
        (evaluation.without_prediction, "masks without a prediction"),
        (evaluation.without_truth, "predictions without a mask"),
    ):
        if ids:
            console.print(f"Left out, {what} ({len(ids)}): {', '.join(ids)}", soft_wrap=True, highlight=False)
    for path in written:
        console.print(f"Written: {path}", soft_wrap=True, highlight=False)


def _print_panoptic(evaluation: PanopticEvaluation, output: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from edgebench.data.adapters.listing import some_names

    scores, count = evaluation.scores(), len(evaluation.ids)
    table = Table(title=f"panoptic quality, {count} image{'s' if count > 1 else ''}")
    table.add_column("classes")
    for name in ("PQ", "SQ", "RQ", "n"):
        table.add_column(name, justify="right")
    for group in ("all", "things", "stuff"):
        values = (scores[group][name] for name in ("pq", "sq", "rq"))
        table.add_row(group, *("-" if value is None else f"{value:.4f}" for value in values), str(scores[group]["n"]))
    console = Console()
    console.print(table)
    if left := evaluation.without_truth:
        console.print(
            f"Left out, predictions without ground truth ({len(left)}): {some_names(left)}",
            soft_wrap=True,
            highlight=False,
        )
    console.print(f"Written: {output}", soft_wrap=True, highlight=False)


def _print_instances(evaluation: InstanceEvaluation, written: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="class-agnostic" if evaluation.class_agnostic else "per class")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in evaluation.scores.items():
        table.add_row(name, "-" if value is None else f"{value:.4f}")
    console = Console()
    console.print(table)
    for line in (
        f"Images: {evaluation.n_images} (without a prediction: {evaluation.n_images_without_predictions})",
        f"Instances: {evaluation.n_instances} (and crowds, which count neither way: {evaluation.n_crowds})",
        f"Predicted masks: {evaluation.n_predictions} (sizes by {evaluation.sizes_by})",
        f"Written: {written}",
    ):
        console.print(line, soft_wrap=True, highlight=False)


def _print_instance_edges(evaluation: InstanceEdgeEvaluation, written: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    from edgebench.data.adapters.listing import some_names

    scores, record, count = evaluation.scores(), evaluation.record(), len(evaluation.edges.ids)
    table = Table(
        title=f"instance edges, {count} image{'s' if count > 1 else ''}",
        caption=f"nms {record['nms']['name']}, thinned, max distance {record['max_distance']:g}, "
        f"{record['thresholds']} thresholds, borders of void {'count' if record['void'] else 'left out'}",
    )
    for name in ("ODS", "OIS", "AP", "clDice", "clDice plain", "ODS threshold"):
        table.add_column(name, justify="right")
    values = [scores["ods"]["f"], scores["ois"]["f"], *(scores[name]["value"] for name in ("ap", *_CLDICE))]
    table.add_row(*("-" if each is None else f"{each:.4f}" for each in [*values, scores["ods"]["threshold"]]))
    console = Console()
    console.print(table)
    if left := evaluation.without_truth:
        console.print(
            f"Left out, predictions without ground truth ({len(left)}): {some_names(left)}",
            soft_wrap=True,
            highlight=False,
        )
    for path in written:
        console.print(f"Written: {path}", soft_wrap=True, highlight=False)


def _print(evaluation: EdgeEvaluation, written: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    scores = evaluation.scores()
    record = evaluation.protocol.record()
    table = Table(
        title=f"{record['protocol']}, {len(evaluation.ids)} image{'s' if len(evaluation.ids) > 1 else ''}",
        caption=f"nms {record['nms']['name']}, max distance {record['max_distance']:g}, "
        f"{record['thresholds']} thresholds",
    )
    for name in ("ODS", "OIS", "AP", "AC", "ODS threshold"):
        table.add_column(name, justify="right")
    table.add_row(
        f"{scores['ods']['f']:.4f}",
        f"{scores['ois']['f']:.4f}",
        f"{scores['ap']['value']:.4f}",
        f"{scores['ac']['value']:.4f}",
        f"{scores['ods']['threshold']:.4f}",
    )
    console = Console()
    console.print(table)
    for path in written:
        console.print(f"Written: {path}", soft_wrap=True, highlight=False)
