"""The model card, REPORT.md: data and its terms, training, results with intervals, known failures, how to reproduce; and its
pictures, metrics/accuracy.svg and metrics/curves.svg, which README.md and docs/results.md show as well.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. It has no dates: the same run gives the same page.
"""

from littledata.core import process

process.begin("card", __name__)

import json

from matplotlib import rc_context

from littledata.core import stage, tables
from littledata.core.params import leaves
from littledata.pictures import images
from littledata.report import card
from littledata.scores import levels, metrics
from littledata.splits import dataset


def main(params) -> None:
    manifest = dataset.read_manifest()
    classes = dataset.class_names(manifest)
    found = metrics.read()
    level, why = levels.handed_out()
    test, tuned = found[level]["test"], ", its last blocks fine-tuned" if level == "finetune" else ", with a classifier on top"
    with rc_context({"svg.hashsalt": "card"}):  # else ids are drawn anew each time
        for path, figure in (
            (card.PICTURES["accuracy"], card.accuracy_picture(found, classes)),
            (card.PICTURES["curves"], card.curves_picture()),
        ):
            figure.savefig(path, metadata={"Date": None, "Creator": None})
    remarks = "".join(f"**{remark}**\n\n" for remark in levels.remarks(found))
    crops = params["activations"]["crops"]
    side = images.whole(params["image_size"], crops)
    looked = f", and looked at in {crops} crops" if crops > 1 else ""
    told = ((name, list(value) if isinstance(value, tuple) else value) for name, value in leaves(params))
    told = ((name, json.dumps(value, ensure_ascii=False)) for name, value in told)
    body = ([f"`{name}`", tables.plain(value) if set("`|") & set(value) else f"`{value}`"] for name, value in told)
    named = ", ".join(map(tables.plain, classes))
    card.CARD.write_text(
        f"""\
# Model card: {named}

Says which of {len(classes)} classes a photo shows: {params["backbone"]}, pretrained on ImageNet{tuned}. Test
accuracy {test["accuracy"]:.3f} ({test["accuracy_low"]:.3f}-{test["accuracy_high"]:.3f}, {test["n"]} photos). In: a photo, {card.FITTED[params["fit"]][0]} to {side} x {side} px{looked}. Out: a
probability for every class, {named}. The file is `models/classifier.onnx`; `predict` runs it.

Of levels 2 and 3 it is level {levels.LEVELS[level]}: {why}.

This page is made by the pipeline (stage `card`).

## Data

{card.data(manifest)}

## Results

{card.results(found)}

![accuracy of each level]({card.PICTURES["accuracy"]})

![learning curves]({card.PICTURES["curves"]})

{remarks}Training saw training photos alone; what was chosen was chosen by validation photos. Test photos were looked at once.

## Known failures

{card.failures(manifest, level)}

Any picture gets one of the {len(classes)} classes, also one that shows none of them or several. Photos that differ from
those above in kind (drawings, night, close-ups of a part) were not looked at. {card.FITTED[params["fit"]][1]}

## How it was trained

In three levels, each on top of what the one before gave; see README.md. The params of this run:

{tables.markdown(["param", "value"], body)}

## How to reproduce it

At this commit, `make repro` with the same photos, or `make pull` from the team's remote. `dvc.lock` and `publish/dvc.lock`
hold the digest of everything that went in and came out; `make check-lock` says whether they belong together. The same
params, photos and kind of processor give the same bytes.
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    stage.run("card", main)
