"""Templates say what transformers' own rendering says, and those that would never end are errors with a name."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from transformers import InternVLProcessor

from host_world import CHATML, bpe_processor
from liteframe.errors import ConfigError
from liteframe.hf.processing import LiteFrameProcessor
from liteframe.models.video_llm import chat_template
from liteframe.models.video_llm.chat_template import render, render_all, require_bounded
from liteframe.models.video_llm.prompts import PromptBuilder
from liteframe.tiny.models import tiny_processor

MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": [{"type": "text", "text": "Be <b>short</b> & 'kind'.\n"}]},
    {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "Was? \u00e9\u4e2d \ud83d"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "Nichts."}]},
]
GOOD = {
    "chatml": CHATML,
    "loops": "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}\n{% endfor %}  x",
    "json": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2, sort_keys=true) }}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content[0].text }}{% endgeneration %}{% endfor %}",
    "macro": "{% macro line(m) %}<{{ m.role }}>{% endmacro %}{% for m in messages %}{{ line(m) }}{% endfor %}",
    "variables": "{{ word | default('none') }} {{ eos_token }} {{ missing is defined }} {{ add_generation_prompt }}",
    "dict": "{{ dict(a=1) }}{{ dict.fromkeys(['b'], 2) }}{{ messages[::-1][0].role }}{{ tools is none }}",
    "blocks": "{%- if true %}\n  a\n{%- endif %}\n\tb\n",
}
ENDLESS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "text": "{{ 'a' * 10**10 }}",
    "number": "{{ 7 ** (10**8) }}",
    "digits": "{{ 10 ** 5000 }}",
    "list": "{{ [1] * 10**10 }}",
    "range": "{{ range(10**9) | list }}",
    "width": "{{ '%9999999999d' % 1 }}",
    "centre": "{{ 'a' | center(10**10) }}",
    "macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "two macros": "{% macro a(n) %}{{ a(n + 1) ~ a(n + 1) if n < 60 }}{% endmacro %}{{ a(0) }}",
    "doubled": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "long": "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
    "deep": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
}
BAD = {
    "python": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "namespace": "{% set ns = namespace(__x=1) %}",
    "syntax": "{% for m in messages %}",
    "refusal": "{{ raise_exception('roles must alternate') }}",
    "operator": "{{ 1 / 0 }}",
    "type": "{{ messages + 1 }}",
}


@pytest.fixture
def little_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fifth of the usual limit: what has no end takes all of it, twice."""
    monkeypatch.setattr(chat_template, "SECONDS", chat_template.SECONDS / 5)
    monkeypatch.setattr(chat_template, "_renderer", renderer := chat_template._Renderer())
    yield
    if renderer._child is not None:
        renderer._child.kill()
        renderer._child.communicate()


def with_template(template: str) -> InternVLProcessor:
    processor = bpe_processor()
    processor.chat_template = template
    return processor


@pytest.mark.parametrize("template", GOOD.values(), ids=GOOD.keys())
def test_the_text_is_that_of_transformers(template: str) -> None:
    processor = with_template(template)
    variables = {**processor.tokenizer.special_tokens_map, "word": "w", "tools": None, "documents": None}
    expected = processor.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True, word="w")
    text, names = render(template, MESSAGES, {**variables, "add_generation_prompt": True}, "here")
    assert text == expected
    assert "messages" in names or template == GOOD["variables"] or template == GOOD["blocks"]


@pytest.mark.usefixtures("little_time")
@pytest.mark.parametrize("template", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_template_without_an_end_is_named(template: str) -> None:
    with pytest.raises(ConfigError, match="^here: the chat template ") as caught:
        require_bounded(template, "here")
    assert "\n" not in str(caught.value)
    assert render("{{ messages[0].role }}", MESSAGES, {}, "here")[0] == "system", "the next one is served"


def test_several_conversations_are_rendered_each_with_its_own_variables() -> None:
    conversations = [([{"role": role}], {"word": word}) for role, word in (("user", "a"), ("assistant", "b"))]
    texts, names = render_all("{{ messages[0].role }} {{ word }}", conversations, "here")
    assert texts == ["user a", "assistant b"] and names == ["messages", "word"]
    with pytest.raises(ConfigError, match="^here: the chat template cannot be used: "):
        render_all("{{ 1 / word }}", [([], {"word": 1}), ([], {"word": 0})], "here")


ELSEWHERE = "import sys, signal; sys.modules['resource'] = None; del signal.setitimer, signal.ITIMER_PROF; "
"""A child's Python as on Windows, where these are not there."""


@pytest.fixture
def without_kernel_limits(monkeypatch: pytest.MonkeyPatch, little_time: None) -> None:
    monkeypatch.setattr(chat_template, "KERNEL_LIMITS", False)
    monkeypatch.setattr(chat_template, "_BOOTSTRAP", ELSEWHERE + chat_template._BOOTSTRAP)


@pytest.mark.usefixtures("without_kernel_limits")
@pytest.mark.parametrize("template", [ENDLESS["loops"], ENDLESS["doubled"]], ids=["time", "memory"])
def test_a_template_without_an_end_is_named_where_the_kernel_sets_no_limits(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "MOST_BYTES", 1 << 28)
    with pytest.raises(ConfigError, match="^here: the chat template "):
        require_bounded(template, "here")
    assert render("{{ messages[0].role }}", MESSAGES, {}, "here")[0] == "system", "the next one is served"


@pytest.mark.usefixtures("without_kernel_limits")
def test_what_cannot_be_watched_is_not_let_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(pid: int) -> None:
        raise psutil.AccessDenied(pid)

    monkeypatch.setattr(psutil, "Process", denied)
    with pytest.raises(ConfigError, match="ran for more than"):
        require_bounded(ENDLESS["loops"], "here")


@pytest.mark.parametrize("template", BAD.values(), ids=BAD.keys())
def test_a_template_that_fails_is_named(template: str) -> None:
    with pytest.raises(ConfigError, match="^here: the chat template cannot be used: "):
        render(template, MESSAGES, {}, "here")


@pytest.mark.usefixtures("little_time")
def test_a_template_that_waits_for_its_moment(tmp_path: Path) -> None:
    """Good when it is loaded, endless for one question."""
    endless = "{% if messages[0].content[-1].text == 'red' %}" + ENDLESS["loops"] + "{% endif %}"
    builder = PromptBuilder(with_template(endless + CHATML))
    builder.question_ids("blue", 1, 4)
    with pytest.raises(ConfigError, match="chat template ran for more than"):
        builder.question_ids("red", 1, 4)
    processor = frames_in(endless + CHATML)
    processor.save_pretrained(tmp_path)
    processor = LiteFrameProcessor.from_pretrained(tmp_path)
    for settings in ({}, {"tokenize": True}):
        with pytest.raises(ConfigError, match="chat template ran for more than"):
            processor.apply_chat_template([{"role": "user", "content": [{"type": "text", "text": "red"}]}], **settings)


def test_a_folder_with_an_endless_template_is_not_loaded(tmp_path: Path) -> None:
    frames_in(CHATML).save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(ENDLESS["text"])
    with pytest.raises(ConfigError, match="too much memory"):
        LiteFrameProcessor.from_pretrained(tmp_path)


def test_threads_and_forks_take_turns() -> None:
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: texts.append(render(f"{n}{{{{ messages }}}}", [], {}, "here")[0]))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts) == [f"{n}[]" for n in range(8)]
    child = os.fork()
    if child == 0:
        os._exit(0 if render("{{ 1 + 1 }}", [], {}, "here")[0] == "2" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert render("{{ 2 + 1 }}", [], {}, "here")[0] == "3"


def frames_in(template: str) -> LiteFrameProcessor:
    return LiteFrameProcessor(bpe_processor().tokenizer, (56, 56), 4, 4, 8, template)


def test_the_processor_says_what_transformers_does() -> None:
    processor = frames_in(CHATML)
    video = np.zeros((4, 56, 56, 3), np.uint8)
    ask = [{"role": "user", "content": [{"type": "video", "video": video}, {"type": "text", "text": "red"}]}]
    expected = super(LiteFrameProcessor, processor).apply_chat_template(ask, add_generation_prompt=True)
    assert processor.apply_chat_template(ask, add_generation_prompt=True) == expected
    assert processor.apply_chat_template([ask, ask]) == 2 * [processor.apply_chat_template(ask)]
    inputs = processor.apply_chat_template([ask, ask], tokenize=True, return_dict=True, add_generation_prompt=True)
    plain = processor(text=[expected, expected], videos=[video, video])
    assert inputs.input_ids.tolist() == plain.input_ids.tolist()
    assert inputs.pixel_values_videos.shape == plain.pixel_values_videos.shape
    with pytest.raises(ConfigError, match="continue_final_message cannot be had"):
        processor.apply_chat_template(ask, continue_final_message=True)


@pytest.mark.parametrize("name", ["image_size", "clip_frames", "tokens_per_clip", "num_frames", "frames_per_group"])
def test_numbers_of_a_processor(name: str) -> None:
    for value in (10**9, 0, -1, "4", 2.5):
        with pytest.raises(ConfigError, match=name):
            LiteFrameProcessor(tiny_processor(4).tokenizer, **{name: value})


def test_a_renderer_that_is_killed_by_chance_is_started_again_and_signals_to_the_group_miss_it() -> None:
    template = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
    assert chat_template.render(template, [{"role": "user"}], {}, "x")[0] == "user"
    child = chat_template._renderer._child
    assert child is not None and os.getpgid(child.pid) != os.getpgid(0)
    child.kill()
    child.wait()
    assert chat_template.render(template, [{"role": "user"}], {}, "x")[0] == "user"


def test_a_renderer_that_was_started_ahead_is_the_one_that_answers() -> None:
    renderer = chat_template._Renderer()
    renderer.start_ahead()
    started = renderer._starting
    renderer.start_ahead()
    assert started is not None and renderer._starting is started
    request = '{"template": "one", "conversations": [[[], {}]]}'
    assert renderer.ask(request, seconds=1) == {"texts": ["one"], "variables": []}
    assert renderer._child is started and renderer._starting is None
    started.kill()
    started.communicate()
