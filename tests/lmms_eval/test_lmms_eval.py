"""liteframe in lmms-eval itself; skipped where that is not installed (`make lmms-eval-env`)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import liteframe
from liteframe.command import cli
from liteframe.errors import ConfigError, DataError
from liteframe.lmms_eval import manifest as manifest_module
from liteframe.models.video_llm.generation import prompt_ids
from tiny_world import InProcessPool, lma_run_folder, manifest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

QUESTION = "color of the star"


def test_the_entry_point_names_a_function_and_a_class_that_there_are() -> None:
    package = Path(liteframe.__file__).parent
    project = package.parents[1] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("not a checkout")
    named = tomllib.loads(project.read_text())["project"]["entry-points"]["lmms_eval.models"]["liteframe"]
    assert named == f"{manifest_module.__name__}:{manifest_module.manifest.__name__}"
    with mock.patch.dict(sys.modules, {"lmms_eval.models.registry_v2": mock.MagicMock(ModelManifest=dict)}):
        module, _, name = manifest_module.manifest()["chat_class_path"].rpartition(".")
    tree = ast.parse((package.parent / f"{module.replace('.', '/')}.py").read_text())
    assert name in [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


@pytest.fixture(scope="module")
def there() -> None:
    pytest.importorskip("lmms_eval.api.model", reason="lmms-eval is not installed: make lmms-eval-env")


@pytest.fixture
def model(there: None) -> Iterator[Any]:
    from liteframe.lmms_eval.model import LiteFrame

    with mock.patch("liteframe.chat.model.DecodePool", InProcessPool):
        yield LiteFrame.create_from_arg_string(
            f"pretrained={lma_run_folder() / 'export'},frames=8", {"batch_size": 1, "device": "cpu"}
        )


def request(model: Any, video: str, question: str = QUESTION, **settings: Any) -> Any:
    from lmms_eval.api.instance import Instance

    docs = model.task_dict.setdefault("task", {}).setdefault("test", [])
    docs.append([{"role": "user", "content": [{"type": "video", "url": video}, {"type": "text", "text": question}]}])
    arguments = ("", lambda doc: doc, {"max_new_tokens": 4, **settings}, len(docs) - 1, "task", "test")
    return Instance("generate_until", arguments, 0, metadata={"task": "task", "doc_id": 0, "repeats": 1})


def videos() -> list[str]:
    return sorted(map(str, (manifest("test").parent / "test").glob("*.mp4")))


def test_it_is_found_by_its_name(there: None) -> None:
    from lmms_eval.models import get_model

    from liteframe.lmms_eval.model import LiteFrame

    assert get_model("liteframe") is LiteFrame


def test_answers_are_those_of_load_in_the_order_of_requests(model: Any) -> None:
    asked = [(video, words) for words in (QUESTION, "color of the box") for video in videos()]
    with mock.patch("liteframe.chat.model.DecodePool", InProcessPool):
        ours = liteframe.load(lma_run_folder() / "export", device="cpu")
    expected = [str(ours.answer(video, words, max_tokens=4, frames=8)) for video, words in asked]
    assert model.generate_until([request(model, *one) for one in asked]) == expected
    assert len(set(expected)) > 1


def test_a_video_is_read_once_for_all_its_questions(model: Any) -> None:
    first, second, *_ = videos()
    asked = [request(model, video) for video in (first, second, first, second)]
    with mock.patch.object(InProcessPool, "stream", autospec=True, side_effect=InProcessPool.stream) as read:
        model.generate_until(asked)
    assert read.call_count == 2


def test_a_bad_question_costs_itself(model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.mp4").write_bytes(Path(videos()[0]).read_bytes()[:3000])
    good = [request(model, videos()[0]), request(model, videos()[0])]
    bad = [
        request(model, str(tmp_path / "cut.mp4")),
        request(model, str(tmp_path / "missing.mp4")),
        request(model, videos()[0], "what is a zebra"),
    ]

    def exits(doc: Any) -> None:
        sys.exit("video path:gone.mp4 does not exist")

    bad.append(request(model, "gone.mp4"))
    bad[-1].arguments = (bad[-1].arguments[0], exits, *bad[-1].arguments[2:])
    answers = model.generate_until([good[0], *bad, good[1]])
    assert answers[0] == answers[-1] != "" and answers[1:-1] == [""] * 4
    said = capsys.readouterr().err
    for why in ("cut.mp4: is cut short", "missing.mp4: no such file", "'zebra'", "gone.mp4 does not exist"):
        assert why in said
    assert "4 of 6 questions have an empty answer" in said
    with pytest.raises(DataError, match="none of 4 questions could be asked"):
        model.generate_until(bad)


def test_a_question_that_runs_out_of_memory_costs_itself(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, *_ = videos()
    asked = [request(model, first), request(model, first, "color of the box"), request(model, second)]
    wanted = model.generate_until(asked)
    last, calls = model._chat.model.language_model.layers[-1], 0
    forward = last.forward

    def runs_out(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return forward(*args, **kwargs)

    with mock.patch.object(last, "forward", runs_out), mock.patch.object(model, "_last", None):
        assert model.generate_until(asked) == ["", *wanted[1:]]
    said = capsys.readouterr().err
    assert "task 0: empty answer: CUDA out of memory" in said and "1 of 3 questions have an empty answer" in said


def test_an_answer_ends_where_the_context_does(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    one = request(model, videos()[0], max_new_tokens=4096)
    (whole,) = model.generate_until([one])
    seen = model._last[1]
    prompt = len(prompt_ids(model._chat.model, seen.visual_BTNC, QUESTION))
    with mock.patch("liteframe.models.video_llm.generation._context", return_value=prompt + 1):
        assert model.generate_until([one]) == [whole.split()[0]]
    assert "task 0: its answer ends behind 1 tokens, where the LLM takes no more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "given"), [("auto", "cuda:3"), ("cuda", "cuda:3"), ("cuda:1", "cuda:1"), ("cpu", "cpu")]
)
def test_each_process_has_a_gpu_of_its_own(there: None, asked: str, given: str) -> None:
    from liteframe.lmms_eval import model as module

    accelerator = mock.MagicMock(device=torch.device("cuda:3"), process_index=3, num_processes=4)
    with mock.patch.object(module, "Accelerator", return_value=accelerator), mock.patch.object(module, "load") as load:
        module.LiteFrame(pretrained="folder", device=asked)
    assert load.call_args.args[1] == given


def test_what_a_task_may_not_ask_ends_the_run(model: Any) -> None:
    with pytest.raises(ConfigError, match="task task: asks for sampled answers"):
        model.generate_until([request(model, videos()[0], temperature=0.7)])
    with pytest.raises(NotImplementedError, match="--answer likelihood"):
        model.loglikelihood([])


def test_answers_end_where_the_task_says(model: Any) -> None:
    (whole,) = model.generate_until([request(model, videos()[0])])
    assert model.generate_until([request(model, videos()[0], until=[whole[1:]])]) == [whole[:1]]
    assert model.generate_until([request(model, videos()[0], max_new_tokens=1)])[0] == whole.split()[0]


def test_lmms_eval_reads_the_task_that_was_written(there: None, tmp_path: Path) -> None:
    from lmms_eval.tasks import TaskManager

    assert cli.main(["lmms-eval", "tiny-world", str(manifest("test").parent), str(tmp_path / "task")]) == 0
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False, model_name="liteframe")
    with mock.patch.dict("os.environ", {"HF_DATASETS_CACHE": str(tmp_path / "cache")}):
        task = manager.load_task_or_group("liteframe_tiny_world", task_type="chat")["liteframe_tiny_world"]
    doc = task.test_docs()[0]
    (turn,) = task.doc_to_messages(doc)
    assert turn["content"][0]["url"] == videos()[0]
    assert turn["content"][1]["text"] == doc["prompt"] == doc["question"]
    assert task.process_results(doc, [doc["options"]["ABCD".index(doc["target"])]])["strict"]["score"] == 1.0
