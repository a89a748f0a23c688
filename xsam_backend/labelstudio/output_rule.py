"""Which controls of a label config are outputs, for each picture.

1. ``model_output="true"`` makes a control an output, ``"false"`` forbids it.
2. The rest is ranked: tags that cannot prompt (polygon, ellipse, anything ``smart="false"``) before prompt tools, and
   among those polygon > brush > bitmask > rectangle > ellipse > keypoint; then the order in the config.
3. Down that ranking a control becomes an output if it has a label that no output before it has, so an object is
   written once. Where none has labels, the first plain tag (``Polygon``) is the output.
4. Prompt tools are taken only where nothing else is an output (a config of rectangles alone).
"""

from __future__ import annotations

from collections.abc import Sequence

from xsam_backend.labelstudio.tags import GEOMETRIES, ControlTag

RULE = (
    'answers are written to tags with model_output="true", else to the best tag that asks nothing itself '
    f"({', '.join(GEOMETRIES)}: the first of these is best), to further ones only labels that no better one has, and "
    "to tags that ask only where there is no other"
)
"""The rule in one sentence, for people."""


def choose_outputs(controls: Sequence[ControlTag], to_name: str) -> list[ControlTag]:
    """The outputs on one picture, best first, by the rule at the top of this file."""
    able = [
        control
        for control in controls
        if control.to_name == to_name and control.geometry in GEOMETRIES and control.options.output is not False
    ]
    asked_for = [control for control in able if control.options.output]
    others = sorted(
        (control for control in able if not control.options.output),
        key=lambda control: GEOMETRIES.index(control.geometry),
    )
    outputs = list(asked_for)
    covered = {name for output in outputs for name in output.label_names}
    for prompt_tools in (False, True):
        tier = [control for control in others if control.is_prompt_tool == prompt_tools]
        for control in tier:
            if control.has_dynamic_labels or not covered.issuperset(control.label_names):
                outputs.append(control)
                covered.update(control.label_names)
        outputs = outputs or tier[:1]
        if outputs:
            break
    return outputs
