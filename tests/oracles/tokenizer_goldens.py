#!/usr/bin/env python3
"""Writes tests/goldens/tokenizer/: what Hugging Face's `tokenizers` makes of a mixed text.

    python tests/oracles/tokenizer_goldens.py --text evaluation.txt --demo deploy/models/mamba-demo/tokenizer.json

--text is any English text of about 300 kB. Everything else is drawn from a fixed seed, so the files are the same
each time with the versions of tests/oracles/requirements.txt, which versions.json records.

mixed_text.txt        the documents, one after another
<style>.json          a small tokenizer of that style, trained here
<style>.ids.json      per document: its bytes, the number of its ids and their FNV-1a hash; some ids in full;
                      and what random ids decode to
cases.json            one tokenizer, and patches (RFC 7386) to it, each with texts and their ids
"""

import argparse
import json
import pathlib
import random
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

SEED = 20240117
FULL_DOCUMENTS = 6
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_PATTERN = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Code points that Python's version of Unicode assigns, and some that no version will ever assign,
# so that newer tables in one of the libraries make no difference.
ASSIGNED = [
    c
    for c in range(0x110000)
    if not 0xD800 <= c <= 0xDFFF and unicodedata.category(chr(c)) not in ("Cn", "Co")
]
NEVER_ASSIGNED = [0xFFFE, 0xFFFF, 0xFDD0, 0xFDEF, 0x1FFFE, 0x10FFFF, 0x378, 0x379]
PRIVATE_USE = [0xE000, 0xF8FF, 0xF0000, 0x10FFFD]
SPACES = " \t\n\r\x0b\x0c\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"
SCRIPTS = {
    "latin": [(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF)],
    "greek": [(0x391, 0x3A1), (0x3A3, 0x3C9), (0x1F00, 0x1F15)],
    "cyrillic": [(0x410, 0x44F)],
    "arabic": [(0x621, 0x64A), (0x64B, 0x652), (0x660, 0x669), (0xFB50, 0xFBB1), (0xFEF5, 0xFEFC)],
    "hebrew": [(0x5D0, 0x5EA), (0x5B0, 0x5BD), (0xFB1D, 0xFB36)],
    "devanagari": [(0x904, 0x939), (0x93E, 0x94D), (0x958, 0x961), (0x966, 0x96F)],
    "thai": [(0xE01, 0xE3A), (0xE40, 0xE4E)],
    "hangul": [(0xAC00, 0xD7A3), (0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2)],
    "cjk": [(0x4E00, 0x9FA5), (0x3041, 0x3096), (0x30A1, 0x30FA), (0xFF01, 0xFFEE), (0xF900, 0xFA6D)],
    "math": [(0x2190, 0x22FF), (0x2070, 0x209C), (0x1D400, 0x1D454), (0x2150, 0x218B)],
}
EMOJI = [
    "\U0001f600", "\u2764\ufe0f", "\U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f1eb\U0001f1f7", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\U0001f9d1\U0001f3ff\u200d\U0001f4bb", "1\ufe0f\u20e3", "\U0001f636\u200d\U0001f32b\ufe0f",
]
SPECIALS = ["<|endoftext|>", "<|padding|>", "<|begin_of_text|>", "<|end", "|>", "<|endoftext"]
IDENTIFIERS = "i n x acc result buffer index self value nullptr true None len range HTTPServer kMaxSize v2".split()


def word(rng, script):
    letters = []
    for _ in range(rng.randint(1, 9)):
        low, high = rng.choice(SCRIPTS[script])
        c = rng.randint(low, high)
        letters.append(chr(c) if unicodedata.category(chr(c)) != "Cn" else "\u0301")
    return "".join(letters)


def prose(rng, script):
    return "".join(word(rng, script) + rng.choice([" ", " ", " ", ", ", ". ", "\n", "'s ", "-", ""]) for _ in range(300))


def code(rng):
    lines = []
    for _ in range(80):
        indent = " " * (4 * rng.randint(0, 6)) if rng.random() < 0.8 else "\t" * rng.randint(0, 4)
        a, b, c = (rng.choice(IDENTIFIERS) for _ in range(3))
        lines.append(
            indent
            + rng.choice([
                f"if ({a} != {b}) {{ return {c}[{rng.randint(0, 99999)}]; }}",
                f"{a}_{b} += \"{c}\\n\";  // {word(rng, 'latin')}",
                f"def {a}({b}, *{c}): pass",
                f"{a}->{b}<{c}>(0x{rng.getrandbits(40):X}, {rng.random():.6f});",
                "",
                f"'''{a}'''  don't we'LL they'Re I'M it'\u017f {b}'d{c}",
            ])
        )
    return rng.choice(["\n", "\r\n", "\n\n"]).join(lines)


def blanks(rng):
    parts = []
    for _ in range(150):
        parts.append(rng.choice(SPACES + " " * 12) * rng.randint(1, rng.choice([2, 4, 30, 70])))
        parts.append(rng.choice(["", "", "a", "b1", "!", "'s", "\u0301", "中", "<|padding|>"]))
    return "".join(parts)


def marks(rng):
    base = "aeiounAEO\u1112\u1161\u0915\u05d0\u0627\u00e9\u1e69\u212b"
    combining = [0x300, 0x301, 0x307, 0x308, 0x323, 0x327, 0x331, 0x334, 0x345, 0x5B4, 0x5BC, 0x64B, 0x651, 0x94D, 0x11A8, 0x20D0]
    return "".join(
        rng.choice(base) + "".join(chr(rng.choice(combining)) for _ in range(rng.randint(0, 4))) + rng.choice(["", "", " "])
        for _ in range(700)
    )


def anything(rng):
    pool = [rng.choice(ASSIGNED) for _ in range(900)] + NEVER_ASSIGNED + PRIVATE_USE + list(range(0x20)) + [0x7F, 0xAD, 0xFEFF, 0x200B, 0x200D]
    rng.shuffle(pool)
    return "".join(chr(c) + (" " if rng.random() < 0.1 else "") for c in pool)


def punctuation(rng):
    marks_ = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~…—“”‘’«»¿¡、。·"
    return "".join(
        rng.choice([rng.choice(marks_) * rng.randint(1, 12), str(rng.randint(0, 10 ** rng.randint(1, 12))), " ", "\n", word(rng, "latin")])
        for _ in range(700)
    )


def specials(rng):
    return "".join(rng.choice(SPECIALS + ["  ", " ", "word", "\n", "é", "   x"]) for _ in range(400))


def emoji(rng):
    return "".join(rng.choice(EMOJI) * rng.randint(1, 3) + rng.choice(["", " ", " ok ", "\n"]) for _ in range(250))


def documents(text):
    rng = random.Random(SEED)
    real = [text[i : i + 4096] for i in range(0, len(text), 4096)]
    makers = [code, blanks, marks, anything, punctuation, specials, emoji]
    makers += [lambda r, s=s: prose(r, s) for s in SCRIPTS]
    made = [makers[i % len(makers)](rng) for i in range(15 * len(makers))]
    long_words = ["a" * 3000, " " * 3000, "ab" * 1500, "\n" * 1000 + "x", "=" * 2000, "é" * 900, "7" * 1000]
    # A few of each kind first: their ids are stored in full.
    documents_ = [d[:300] for d in (real[0], made[0], made[1], made[2], made[4], made[5])]
    rest = real + made + long_words + [d * 2 for d in ("", "x", " ", "'", "\x00")]
    rng.shuffle(rest)
    return documents_ + rest


def trainer(size, special):
    return trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )


def byte_level(add_prefix_space=False, use_regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=use_regex)


def gpt2_style(texts):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = byte_level()
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator(texts, trainer(3000, ["<|endoftext|>"]))
    # As in the oldest files: merges as lines, no type, the affixes empty.
    d = json.loads(t.to_str())
    model = d["model"]
    d["model"] = {
        "dropout": None, "unk_token": "", "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
        "vocab": model["vocab"], "merges": ["#version: 0.2"] + [" ".join(m) for m in model["merges"]],
    }
    return d


def neox_style(texts):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = byte_level()
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator(texts, trainer(3000, ["<|endoftext|>", "<|padding|>"]))
    t.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    return json.loads(t.to_str())


def llama3_style(texts):
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.normalizer = normalizers.NFKC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"), byte_level(use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(texts, trainer(3000, []))
    t.add_special_tokens(["<|begin_of_text|>", "<|endoftext|>"])
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", t.token_to_id("<|begin_of_text|>"))]
        ),
    ])
    return json.loads(t.to_str())


def falcon_style(texts):
    """The byte-level step is not the last, so the steps after it see byte-level characters."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
    ])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(texts, trainer(2000, ["<|endoftext|>"]))
    return json.loads(t.to_str())


def fnv1a(ids):
    h = 0xCBF29CE484222325
    for i in ids:
        for byte in i.to_bytes(4, "little"):
            h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def encode(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def decodings(tokenizer, rng):
    size = tokenizer.get_vocab_size()
    result = []
    for skip in (True, False):
        for _ in range(12):
            # The single bytes among the first ids make most of the text malformed; some ids are unknown.
            ids = [rng.choice([rng.randrange(300), rng.randrange(size + 5)]) for _ in range(60)]
            result.append({"skip_special": skip, "ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=skip)})
    return result


def expectations(tokenizer, docs):
    encoded = [encode(tokenizer, d) for d in docs]
    return {
        "documents": [[len(d.encode()), len(ids), fnv1a(ids)] for d, ids in zip(docs, encoded)],
        "full_ids": encoded[:FULL_DOCUMENTS],
        "decodings": decodings(tokenizer, random.Random(SEED)),
    }


def token(content, **flags):
    base = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    return {"content": content, **base, **flags}


def case_patches():
    split = lambda pattern, behavior, invert=False: {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}
    sequence = lambda *steps: {"type": "Sequence", "pretokenizers": list(steps)}
    last = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    cases = {}
    for behavior in ("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"):
        for invert in (False, True):
            for name, pattern in (("regex", {"Regex": r"\s|,"}), ("string", {"String": "the"}), ("empty", {"Regex": "x*"})):
                cases[f"split {name} {behavior} {invert}"] = {"pre_tokenizer": sequence(split(pattern, behavior, invert), last)}
        cases[f"punctuation {behavior}"] = {"pre_tokenizer": sequence({"type": "Punctuation", "behavior": behavior}, last)}
    for pattern in (DEEPSEEK_PATTERN, r"\w+|\W", r"^.", r"(?<=e).$", r"[[:alpha:]]+", r"[\w-]+", r"\h+", r"(?i)THE|S", r"\p{Han}+|\d", r"[a-z&&[^e]]+"):
        cases[f"split {pattern}"] = {"pre_tokenizer": sequence(split({"Regex": pattern}, "Isolated"), last)}
    for individual in (False, True):
        cases[f"digits {individual}"] = {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": individual}, last)}
    for kind in ("Whitespace", "WhitespaceSplit"):
        cases[kind] = {"pre_tokenizer": sequence({"type": kind}, last)}
    prefix = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}
    cases["prefix space"] = {"pre_tokenizer": prefix}
    cases["prefix space on each piece"] = {"pre_tokenizer": sequence(split({"String": "e"}, "MergedWithPrevious"), prefix)}
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase"):
        cases[form] = {"normalizer": {"type": form}}
    cases["replace"] = {"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}, {"type": "Replace", "pattern": {"String": "a"}, "content": "é"},
        {"type": "Prepend", "prepend": "the "}, {"type": "NFD"}]}}
    for flags in (dict(), dict(single_word=True), dict(lstrip=True), dict(rstrip=True), dict(lstrip=True, rstrip=True),
                  dict(normalized=True), dict(special=True), dict(normalized=True, single_word=True, rstrip=True)):
        cases[f"added {flags}"] = {
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "NFC"}]},
            "added_tokens": [token("the", **flags), token("The", **flags) if not flags.get("normalized") else token("They", **flags),
                             token("then", **flags), token("  "), token("e\u0301", **flags), token("  x", normalized=True)],
        }
    # Only the model, with no step before it: some characters are not in the vocabulary.
    characters = {"pre_tokenizer": None}
    cases["characters dropped"] = characters
    cases["unknown"] = {**characters, "model": {"unk_token": "?"}}
    cases["unknown fused"] = {**characters, "model": {"unk_token": "?", "fuse_unk": True}}
    cases["byte fallback"] = {**characters, "model": {"unk_token": "?", "fuse_unk": True, "byte_fallback": True, "vocab": {
        f"<0x{b:02X}>": 5000 + b for b in range(256) if b != 0x81}}}
    cases["ignore merges"] = {"pre_tokenizer": byte_level_json(), "model": {"ignore_merges": True, "vocab": {"Ġinteresting": 6000}}}
    cases["ignore merges, characters"] = {"pre_tokenizer": {"type": "WhitespaceSplit"}, "model": {"ignore_merges": True, "vocab": {"naïve": 6000}}}
    return cases


def byte_level_json():
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def numbered(base, patch):
    """Gives each added token of `patch` the id that the package will give it."""
    next_id = len(base["model"]["vocab"])
    for t in patch.get("added_tokens", []):
        known = base["model"]["vocab"].get(t["content"])
        t["id"], next_id = (known, next_id) if known is not None else (next_id, next_id + 1)
    return patch


def load(document):
    # The package requires fields that may be null.
    whole = {k: document.get(k) for k in ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")}
    return Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], **whole, **document}))


def cases(texts):
    # Merges cross words, so that each boundary between pieces shows in the ids.
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = byte_level(use_regex=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([x[i : i + 60] for x in texts for i in range(0, 1200, 60)], trainer(1200, []))
    base = json.loads(t.to_str())
    samples = [
        "Then they said: the  theory, thence   the\tthem, THE the, e\u0301 and \u00e9.",
        "  x leads,, xx and  the  x\n\nthe end\r\n\tof the line the",
        "In 2023 12345 of ¼ and ² and ٣٤٥; ½x 7the7 the7 _the_ 'the' the\u200dthe",
        "naïve café \u0345\u0301\u0323a ﬁne ﷺ ｆｕｌｌ Å İstanbul ΣΑΣ Straße 한국어 अनुच्छेद",
        "emoji 👍🏽👨‍👩‍👧 日本語のテキスト。漢字です! (a+b)*c == {d: [e]} \x85\xa0\u2003\u3000z",
        "don't we'll WE'LL it'\u017f  interesting interesting\u3000interesting \u0378\ufffe\ue000",
        "the", " ", "", "the the the", "\U00016a40\u0b72 ×÷ $5 <a|b> ^_^ ~`", "a\nb\nthe\n", "\u166d\U000111c9\u2e43\u061d\u00ab.",
    ]
    result = []
    for name, patch in case_patches().items():
        tokenizer = load(merge_patch(base, numbered(base, patch)))
        result.append({"name": name, "patch": patch, "ids": [encode(tokenizer, s) for s in samples]})
    return {"base": base, "texts": samples, "cases": result}


def write(path, data):
    path.write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8", newline="\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--demo", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    out = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "tokenizer"
    out.mkdir(parents=True, exist_ok=True)

    docs = documents(arguments.text.read_text(encoding="utf-8"))
    (out / "mixed_text.txt").write_bytes("".join(docs).encode())
    write(out / "demo.ids.json", expectations(Tokenizer.from_file(str(arguments.demo)), docs))
    for make in (gpt2_style, neox_style, llama3_style, falcon_style):
        document = make(docs)
        write(out / f"{make.__name__}.json", document)
        write(out / f"{make.__name__}.ids.json", expectations(load(document), docs))
    write(out / "cases.json", cases(docs))
    versions = {"python": sys.version.split()[0], "unicodedata": unicodedata.unidata_version, "tokenizers": tokenizers.__version__}
    write(out / "versions.json", versions)
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
