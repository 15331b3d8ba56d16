"""Checks every asm statement of the CUDA sources for what the compiler cannot see and will not say.

    python tools/check_asm.py csrc/cuda

The compiler believes an asm statement: one that hides a write of memory, or lets an output share a
register with an input that is still to be read, compiles without a word and fails on some later
version or in another kernel. The rules:
  place      assembly lives in csrc/cuda/primitives alone, where each statement has an emulator twin
  volatile   what touches or orders memory, or needs other lanes, must not be moved or dropped
  memory     what reads, writes or orders memory says so, or accesses in C++ move across it
  clobber    an output written before the last input is read is early-clobber: "=&r"
  operands   every operand is used, and every %N is an operand
  width      the constraint is as wide as the instruction's type and the C++ cast:
             h 16 bits, r 32, l 64, f float, d double; n is an immediate
  aligned    .sync instructions of whole warps (mma, ldmatrix) are .aligned, those with a mask not
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = (".cu", ".cuh", ".h", ".inc", ".cpp")

ASM = re.compile(r"\b(?:asm|__asm__|__asm)\b\s*(?P<volatile>volatile|__volatile__)?\s*\(")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
OPERAND = re.compile(r'^\s*"(?P<constraint>[^"]*)"\s*\((?P<expression>.*)\)\s*$', re.S)
CAST = re.compile(
    r"^\s*(?:static|reinterpret)_cast<\s*(?:const\s+)?(?P<type>[\w\s:]+?)\s*[&*]?\s*>"
)
REFERENCE = re.compile(r"(?<!%)%(\d+)")

# First words of opcodes.
MEMORY = re.compile(
    "ldu?|st|(ld|st)matrix|cp|red|atom|bar|barrier|membar|fence|mbarrier|wgmma|tcgen05|multimem"
)
FIXED = re.compile("activemask|elect|nanosleep|trap|exit|setmaxnreg|griddepcontrol|prefetch")
WHOLE_WARP = re.compile("w?mma|wgmma|(ld|st|mov)matrix")
MASKED = re.compile("shfl|vote|match|redux|elect")
# Instructions all of whose operands have the type in their name.
UNIFORM = re.compile("mov|add|sub|mul|fma|mad|and|or|xor|not|neg|abs|min|max|ld|st|shfl")

CONSTRAINTS = "hrlfdn"
OF_TYPE = {
    **dict.fromkeys(("b16", "u16", "s16", "f16", "bf16"), "h"),
    **dict.fromkeys(("u32", "s32", "tf32", "f16x2", "bf16x2"), "r"),
    **dict.fromkeys(("u64", "s64"), "l"),
    **{"b32": "rf", "f32": "f", "b64": "ld", "f64": "d"},
}
OF_CAST = {
    **dict.fromkeys(("short", "unsigned short", "uint16_t", "int16_t"), "h"),
    **dict.fromkeys(("int", "unsigned", "unsigned int", "uint32_t", "int32_t"), "rn"),
    **dict.fromkeys(("long long", "unsigned long long", "uint64_t", "int64_t", "size_t"), "l"),
    **{"float": "f", "double": "d"},
}


@dataclass(frozen=True)
class Instruction:
    opcode: str  # "ldmatrix.sync.aligned.m8n8.x4.shared.b16"
    operands: tuple[str, ...]  # "{%0, %1}", "[%2]"

    @property
    def parts(self) -> list[str]:
        return self.opcode.split(".")

    @property
    def base(self) -> str:
        return self.parts[0]

    @property
    def references(self) -> set[int]:
        return {int(n) for operand in self.operands for n in REFERENCE.findall(operand)}

    @property
    def touches_memory(self) -> bool:
        read_only = self.base == "ld" and "nc" in self.parts  # nobody writes it meanwhile
        return MEMORY.fullmatch(self.base) is not None and not read_only

    @property
    def must_stay(self) -> bool:
        return self.touches_memory or FIXED.fullmatch(self.base) is not None or "sync" in self.parts


@dataclass(frozen=True)
class Operand:
    constraint: str  # "=&r"
    expression: str
    is_output: bool

    @property
    def letter(self) -> str:
        return self.constraint.strip("=+&")


@dataclass(frozen=True)
class AsmStatement:
    line: int
    volatile: bool
    template: str
    operands: tuple[Operand, ...]
    clobbers: tuple[str, ...]

    @cached_property
    def instructions(self) -> list[Instruction]:
        found = []
        for text in self.template.split(";"):
            text = text.strip().removeprefix("{").strip()  # the brace of a scope
            text = re.sub(r"^(?:\w+:\s*)?(?:@!?%?\w+\s+)?", "", text)  # label and predicate
            opcode, _, rest = text.partition(" ")
            if re.match(r"[a-z]\w*(\.|$)", opcode):
                found.append(Instruction(opcode, tuple(split(rest, ","))))
        return found


def split(text: str, separator: str) -> list[str]:
    """Splits where no bracket or string is open; no pieces for an empty text."""
    pieces, depth, start, quoted = [], 0, 0, False
    for i, character in enumerate(text):
        if character == '"' and text[i - 1] != "\\":
            quoted = not quoted
        if quoted:
            continue
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            pieces.append(text[start:i].strip())
            start = i + 1
    return [*pieces, text[start:].strip()] if text.strip() else []


def without_comments(text: str) -> str:
    """Comments become blanks, so that positions stay."""

    def blank(found: re.Match[str]) -> str:
        return found[0] if found[0][0] == '"' else re.sub(r"[^\n]", " ", found[0])

    return re.sub(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', blank, text, flags=re.S)


def statements(text: str) -> Iterator[AsmStatement]:
    """Every asm statement of a source."""
    text = without_comments(text)
    for found in ASM.finditer(text):
        depth, end, quoted = 1, found.end(), False
        while depth and end < len(text):
            quoted ^= text[end] == '"' and text[end - 1] != "\\"
            if not quoted:
                depth += (text[end] == "(") - (text[end] == ")")
            end += 1
        sections = [*split(text[found.end() : end - 1], ":"), "", "", "", ""]
        operands = [
            Operand(operand["constraint"], operand["expression"], is_output)
            for section, is_output in ((sections[1], True), (sections[2], False))
            for piece in split(section, ",")
            if (operand := OPERAND.match(piece))
        ]
        yield AsmStatement(
            line=text.count("\n", 0, found.start()) + 1,
            volatile=found["volatile"] is not None,
            template="".join(STRING.findall(sections[0])).replace("\\n", " ").replace("\\t", " "),
            operands=tuple(operands),
            clobbers=tuple(STRING.findall(sections[3])),
        )


def check_text(text: str, in_primitives: bool = True) -> Iterator[tuple[int, str]]:
    """Line and sentence of each finding in a source."""
    for statement in statements(text):
        if not in_primitives:
            yield (
                statement.line,
                "place: assembly outside csrc/cuda/primitives; make it a primitive with an "
                "emulator twin",
            )
        for rule in (check_effects, check_early_clobber, check_operands, check_width, check_sync):
            for finding in rule(statement):
                yield statement.line, finding


def check_effects(statement: AsmStatement) -> Iterator[str]:
    for one in statement.instructions:
        if one.must_stay and not statement.volatile:
            yield f"volatile: {one.opcode} must not be moved or dropped; write asm volatile"
        if one.touches_memory and "memory" not in statement.clobbers:
            yield f'memory: {one.opcode} touches or orders memory; add the clobber "memory"'
    if "%%clock" in statement.template and not statement.volatile:
        yield "volatile: a clock is read anew each time; write asm volatile"


def check_early_clobber(statement: AsmStatement) -> Iterator[str]:
    inputs = {i for i, operand in enumerate(statement.operands) if not operand.is_output}
    for i, operand in enumerate(statement.operands):
        if not operand.is_output or "&" in operand.constraint:
            continue
        uses = [at for at, one in enumerate(statement.instructions) if i in one.references]
        for later in statement.instructions[uses[0] + 1 :] if uses else []:
            if read := sorted(inputs & later.references):
                yield (
                    f"clobber: %{i} is written before {later.opcode} reads %{read[0]}; its "
                    f'constraint is "{operand.constraint[:1]}&{operand.letter}"'
                )
                break


def check_operands(statement: AsmStatement) -> Iterator[str]:
    used = {int(n) for n in REFERENCE.findall(statement.template)}
    for i, operand in enumerate(statement.operands):
        if i not in used:
            yield f"operands: %{i} ({operand.expression.strip()}) is never used; remove it"
    for n in sorted(used - set(range(len(statement.operands)))):
        yield f"operands: %{n} is used, but there are {len(statement.operands)} operands"


def check_width(statement: AsmStatement) -> Iterator[str]:
    for i, operand in enumerate(statement.operands):
        if operand.letter not in CONSTRAINTS:
            yield f'width: %{i} has the constraint "{operand.constraint}"; known are h r l f d n'
        cast = CAST.match(operand.expression)
        if cast and operand.letter not in OF_CAST.get(cast["type"], operand.letter):
            fits = OF_CAST[cast["type"]][0]
            yield (
                f'width: %{i} is cast to {cast["type"]} but its constraint is "{operand.letter}"; '
                f'write "{fits}"'
            )
    for one in statement.instructions:
        for reference, fits in expected_constraints(one):
            if reference >= len(statement.operands):
                continue
            letter = statement.operands[reference].letter
            if letter != "n" and letter not in fits:
                yield (
                    f'width: %{reference} of {one.opcode} has the constraint "{letter}"; '
                    f"the instruction takes {' or '.join(fits)}"
                )


def expected_constraints(one: Instruction) -> Iterator[tuple[int, str]]:
    """Operand number and the letters that fit it, as far as the opcode tells."""
    spaces = [part for part in one.parts if part.partition("::")[0] in ("shared", "global")]
    addresses = 0
    types = [part for part in one.parts if part in OF_TYPE]
    for position, operand in enumerate(one.operands):
        numbers = [int(n) for n in REFERENCE.findall(operand)]
        if operand.startswith("["):
            space = spaces[min(addresses, len(spaces) - 1)] if spaces else "generic"
            addresses += 1
            fits = "r" if space.startswith("shared") else "l"
            numbers = numbers[:1]
        elif one.base == "ldmatrix":
            fits = "r"  # two elements of 16 bits in each
        elif one.base == "mma" and len(types) == 4:
            fits = OF_TYPE[types[min(position, 3)]].replace("h", "r")  # likewise
        elif one.base == "cvt" and len(types) == 2:
            fits = OF_TYPE[types[min(position, 1)]]
        elif UNIFORM.fullmatch(one.base) and len(types) == 1 and "wide" not in one.parts:
            fits = OF_TYPE[types[0]]
        else:
            continue
        for number in numbers:
            yield number, fits


def check_sync(statement: AsmStatement) -> Iterator[str]:
    for one in statement.instructions:
        if WHOLE_WARP.fullmatch(one.base) and not {"sync", "aligned"} <= set(one.parts):
            yield f"aligned: {one.base} runs on whole warps; write {one.base}.sync.aligned"
        if MASKED.fullmatch(one.base) and ("sync" not in one.parts or "aligned" in one.parts):
            yield f"aligned: {one.base} takes a mask of lanes; write {one.base}.sync"


def check_folder(folder: Path) -> tuple[list[str], int]:
    """Findings as file:line: sentence, and the number of statements read."""
    findings, count = [], 0
    for path in sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES):
        text = path.read_text()
        count += sum(1 for _ in statements(text))
        for line, finding in check_text(text, path.parent.parts[-2:] == ("cuda", "primitives")):
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            findings.append(f"{name}:{line}: {finding}")
    return findings, count


def main(arguments: list[str]) -> int:
    """Prints the findings; 1 if there are any, 2 if there was nothing to read."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    findings, count = check_folder(Path(arguments[0]).resolve())
    for finding in findings:
        print(finding)
    print(f"{count} asm statements, {len(findings)} findings")
    return 2 if count == 0 else int(bool(findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
