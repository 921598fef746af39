"""Compares what vLLM's server answers about videos with what `liteframe chat` answers, token by token.

liteframe export RUN/lma out/model --merge true
vllm serve out/model --dtype float32 --enforce-eager --allowed-local-media-path WORLD     # in another shell
python benchmarks/vllm_agreement.py out/model WORLD/test.jsonl --output benchmarks/records/vllm.json

It asks the questions of a tiny world's list, `--at-once` at a time, and fails where a prompt or an answer differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from liteframe.chat.loading import load
from liteframe.chat.model import ChatModel
from liteframe.models.video_llm.generation import Conversation, prompt_ids
from liteframe.system.json_files import write_json

Tokens = tuple[list[int], list[int]]
"""Of a prompt and of its answer, without the one that ends it."""


def ask_server(
    server: str, url: str, question: str, max_tokens: int = 16, kind: str = "video", tokens: bool = True, **more: Any
) -> dict[str, Any]:
    """What the server answers to a question about one video, or `kind`.

    Args:
        server: its address, up to the port.
        url: of the video.
        question: about it.
        max_tokens: of the answer.
        kind: "video" or "image".
        tokens: ask for the ids of prompt and answer, too, which vLLM's server alone gives.
        more: fields of the request.

    Raises:
        urllib.error.HTTPError: it refuses.
    """
    with urllib.request.urlopen(f"{server}/v1/models", timeout=60) as listed:
        model = json.load(listed)["data"][0]["id"]
    content = [{"type": f"{kind}_url", f"{kind}_url": {"url": url}}, {"type": "text", "text": question}]
    settings = {
        "model": model,
        "temperature": 0,
        "max_tokens": max_tokens,
        **({"return_token_ids": True} if tokens else {}),
    }
    body = json.dumps({**settings, "messages": [{"role": "user", "content": content}], **more}).encode()
    request = urllib.request.Request(f"{server}/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return dict(json.load(answer))


def tokens_of(reply: dict[str, Any], chat: ChatModel) -> Tokens:
    """Tokens of what the server answered."""
    answer = list(reply["choices"][0]["token_ids"])
    if answer and answer[-1] in chat.model.end_ids:
        answer.pop()
    return list(reply["prompt_token_ids"]), answer


def ask_chat(chat: ChatModel, video: Path, question: str, max_tokens: int = 16, **watch: Any) -> Tokens:
    """Tokens of what `liteframe chat` asks its LLM, and answers; `watch` as of `ChatModel.watch`."""
    seen = chat.watch(video, **watch)
    talk = Conversation(chat.model, seen.visual_BTNC, chat.dtype)
    answer = list(talk.reply(question, max_tokens))
    return prompt_ids(chat.model, seen.visual_BTNC, question), answer


def compare(server: str, chat: ChatModel, asked: list[tuple[Path, str]], at_once: int) -> dict[str, Any]:
    """Counts of questions, and of those with the same prompts and the same answers; ``different`` names the others."""
    with ThreadPoolExecutor(at_once) as pool:
        replies = list(pool.map(lambda pair: ask_server(server, pair[0].resolve().as_uri(), pair[1]), asked))
    theirs = [tokens_of(reply, chat) for reply in replies]
    own = [ask_chat(chat, video, question) for video, question in asked]
    pairs = list(zip(asked, own, theirs, strict=True))
    return {
        "questions": len(asked),
        "videos": len({video for video, _ in asked}),
        "at_once": at_once,
        "same_prompts": sum(one[0] == other[0] for _, one, other in pairs),
        "same_answers": sum(one[1] == other[1] for _, one, other in pairs),
        "answer_tokens": sum(len(answer) for _, answer in own),
        "kinds_of_answers": len({tuple(answer) for _, answer in own}),
        "different": [[video.name, question] for (video, question), one, other in pairs if one != other],
    }


def questions(manifest: Path, most: int) -> list[tuple[Path, str]]:
    """Video and question of the first rows of a tiny world's list."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return [(manifest.parent / row["path"], one["question"]) for row in rows for one in row["questions"]][:most]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder that the server serves")
    parser.add_argument("manifest", type=Path, help="list of a tiny world")
    parser.add_argument("--server", default="http://127.0.0.1:8000", help="address of vLLM's server")
    parser.add_argument("--questions", type=int, default=400, help="the first so many")
    parser.add_argument("--at-once", type=int, default=8, help="requests at a time")
    parser.add_argument("--output", help="file of the record")
    args = parser.parse_args()
    chat = load(args.model, device="cpu", dtype="float32")
    with urllib.request.urlopen(f"{args.server}/version", timeout=60) as version:
        versions = {"vllm": json.load(version)["version"]}
    record = {**compare(args.server, chat, questions(args.manifest, args.questions), args.at_once), **versions}
    if args.output:
        write_json(args.output, record)
    print(json.dumps(record, indent=1))
    return 1 if record["different"] else 0


if __name__ == "__main__":
    sys.exit(main())
