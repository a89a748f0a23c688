"""The words of every task: how it can be asked and what is answered.

The first question of each task and all answers are X-SAM's own, because the released weights were trained on them.
The other questions are our wordings of the same request, for variety in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

IMAGE = "<image>"
REGION = "<region>"
SEG = "<SEG>"
PHRASE_OPEN = "<p>"
PHRASE_CLOSE = "</p>"

FORCED_ANSWER = 1
"""Index, in every task's answers, of the one that is read in the same pass at inference ("It is <SEG>.")."""

ReasoningForm = Literal["long", "short", "explanatory"]


@dataclass(frozen=True)
class Wording:
    """Ways to ask one thing and to answer it; ``{}`` is where the user's words go."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]


_MASK_ANSWERS = (
    f"{SEG}.",
    f"It is {SEG}.",
    f"Sure, {SEG}.",
    f"Sure, it is {SEG}.",
    f"Sure, the segmentation mask is {SEG}.",
)
_RESULT_ANSWERS = (*_MASK_ANSWERS[:4], f"Sure, the segmentation result is {SEG}.")

GENERIC = Wording(
    (
        "Can you segment the image based on the following categories: {}? Please output the segmentation masks.",
        "Please divide the image into these categories: {}. Respond with the segmentation masks.",
        "Which parts of the image belong to the categories {}? Please give the segmentation masks.",
        "Find everything in the image that belongs to one of these categories: {}. Output the segmentation masks.",
        "Here is a list of categories: {}. Could you output the segmentation masks of each of them?",
        "Could you mark the following categories in this image: {}? Please answer with the segmentation masks.",
    ),
    _RESULT_ANSWERS,
)
GENERIC_CAPTION = Wording(
    (
        "Can you describe the image and segment it based on the following categories: {}?",
        "Please say in a sentence what the image shows, then output the segmentation masks for: {}.",
        "Describe the image briefly. Which parts of it belong to the categories {}? Give the segmentation masks.",
        "What is in this image? After a short description, segment these categories: {}.",
        "Here is a list of categories: {}. Could you caption the image and output their segmentation masks?",
        "Give a short caption of the image and mark the following categories in it: {}.",
    ),
    (
        f"{{}} {SEG}.",
        f"{{}} And it is {SEG}.",
        f"{{}} And {SEG}.",
        f"{{}} And the segmentation result is {SEG}.",
    ),
)
REFERRING = Wording(
    (
        "Please identify and segment the {} in this image.",
        "Where is the {} in this image? Please output the segmentation mask.",
        "Can you segment the {} in this image?",
        "Please find the {} and output its segmentation mask.",
        "Could you mark the {} in the image?",
        "Output the segmentation mask of the {}.",
        "Look for the {} in this image and segment it.",
        "Which part of the image is the {}? Respond with the segmentation mask.",
        "I am looking for the {}. Can you segment it for me?",
        "Show me the {} by its segmentation mask.",
    ),
    _MASK_ANSWERS,
)
REASONING: dict[ReasoningForm, Wording] = {
    "long": Wording(
        (
            "{} Please output the corresponding segmentation mask.",
            "{} Please answer with a segmentation mask.",
            "{} Could you show it by a segmentation mask?",
            "{} Segment what answers the question.",
            "{} Respond with the segmentation mask of it.",
        ),
        _MASK_ANSWERS,
    ),
    "short": Wording(
        (
            "Can you segment {} in this image? Please output the segmentation mask.",
            "Where in this image is {}? Please output the segmentation mask.",
            "Please segment {} and output the mask.",
            "What in this image is {}? Respond with the segmentation mask.",
            "Find {} in the image and give its segmentation mask.",
        ),
        _MASK_ANSWERS,
    ),
    "explanatory": Wording(
        (
            "{} Please explain why and output the corresponding segmentation mask.",
            "{} Give your reason, then the segmentation mask.",
            "{} Tell me how you know, and answer with the segmentation mask.",
            "{} Please output the segmentation mask and explain your choice.",
            "{} Explain the answer in words and segment it.",
        ),
        (
            f"{SEG}.",
            f"It is {SEG}.",
            f"And {SEG}.",
            f"And it is {SEG}.",
            f"And the segmentation mask is {SEG}.",
        ),
    ),
}
GCG = Wording(
    (
        "Could you please give me a brief description of the image? Please respond with interleaved segmentation "
        "masks for the corresponding parts of the answer.",
        "What does the image show? Please interleave the segmentation masks of the things you mention.",
        "Please describe the image in a sentence or two, with segmentation masks for the parts of the description.",
        "Can you caption this image and ground each phrase with its segmentation mask?",
        "Tell me briefly what is in the image, and output segmentation masks for what you name.",
        "Write a short description of the image. Respond with interleaved segmentation masks for its phrases.",
    ),
    (
        f"{SEG}.",
        f"And {SEG}.",
        f"The segmentation mask is {SEG}.",
        f"And the segmentation mask is {SEG}.",
    ),
)
VGD = Wording(
    (
        "Can you segment the image based on the following regions: {}? Please output the corresponding "
        "segmentation mask.",
        "Please segment all that looks like these regions: {}. Output the corresponding segmentation mask.",
        "Which objects in the image are like the regions {}? Respond with the segmentation mask.",
        "Here are some regions of the image: {}. Could you output the corresponding segmentation mask?",
        "Find the objects that the following regions point at: {}. Please give the segmentation mask.",
        "Use these regions as examples: {}. Output the segmentation mask of what they show.",
    ),
    _RESULT_ANSWERS,
)
