"""What each option of the command line means: the text of ``--help``."""

from __future__ import annotations

from collections.abc import Mapping

# What stands for an option's value, and the help. Where an option means something else
# in one command, that command's name comes before its own.
OPTIONS: Mapping[str, tuple[str | None, str]] = {
    "output": ("FILE", "PNG to write"),
    "demo output": ("DIR", "folder to write into"),
    "ablate output": ("DIR", "folder of the trainings; a stopped run goes on there"),
    "train output": ("DIR", "folder of a new run  [default: runs/WHAT]"),
    "password": (
        "TEXT",
        "repeatable: their sum counts. The list of processes and the shell's history "
        "show it; --password-file, FACERSA_PASSWORD and the prompt do not",
    ),
    "password_file": (
        "FILE",
        "its first line, UTF-8, is a password; - is standard input; repeatable",
    ),
    "code": ("BITS", "a raw code of facersa pair, added as it is; repeatable"),
    "face": ("N", "which of several faces, from the left, from 0, or all; repeatable"),
    "others": (
        None,
        "what becomes of faces that are not encrypted; without it, a picture with one "
        "that cannot be is refused",
    ),
    "chunk": (None, "what the file carries, see below"),
    "no_pixels": (None, "no watermark: a picture without its chunk is then lost"),
    "no_detail": (
        None,
        "leave out the photograph's own face, which the file else holds under the "
        "password: decryption then shows the face that the generator paints",
    ),
    "crop": (None, "write the face only, 1024 x 1024 pixels"),
    "paint": (
        None,
        "what changes: an oval in the face, or the whole head, which hides hair and "
        "ears too but shows more where it was pasted",
    ),
    "look": (
        None,
        "prefer people of the same apparent gender and like age, or leave it to chance",
    ),
    "steps": ("N", "most steps of the inversion; 0: encoder's guess  [default: 60]"),
    "keep_inversion": (
        "FILE",
        "take inversions from FILE where it has them, and add new ones: another "
        "password or cipher then takes seconds. It shows the person",
    ),
    "ablate steps": ("N", "training steps of each variant"),
    "seeds": ("N", "trainings of each variant, from other weights and people"),
    "train steps": ("N", "length of a new run and its schedule  [default: preset's]"),
    "bits": (
        "N",
        "length of the code  [default: 128; a trained cipher has its own, 16]",
    ),
    "pair bits": ("N", "length of the codes; 16 as in the paper, 128 is safer"),
    "cipher": (
        "NAME",
        "steady, rotation, ring, steered, faithful or assembled  [default: steady]",
    ),
    "train cipher": (
        "NAME",
        "ring, steered, faithful, the paper's, or assembled  [default: ring]",
    ),
    "attack cipher": (
        "NAME",
        "steady, rotation, ring, steered, faithful or assembled  [default: steady; "
        "codes: all but assembled]",
    ),
    "weights": ("FILE", "weights of your own for a trained cipher, by facersa train"),
    "train weights": ("FILE", "a faithful mapper whose outputs the judge sees as well"),
    "layers": (
        "A-B",
        "rows of the code that an exact cipher edits, from 0  [default: steady 3-10, "
        "rotation 3-8; the paper's are 5-8]",
    ),
    "kappa": (
        "X",
        "how far an exact cipher pushes away from the person: gentle, usual or strong, "
        "0.15, 0.3 and 0.45, or a number from 0 to 2  [default: steady 0.3, rotation "
        "0.15]",
    ),
    "generator": ("FILE", "a StyleGAN2 or e4e checkpoint  [default: MobileStyleGAN]"),
    "bisenet": ("FILE", "a BiSeNet checkpoint of your own that parses faces"),
    "arcface": ("FILE", "an ArcFace ONNX network of your own, as one more judge"),
    "from_pixels": (None, "read the watermark: for a JPEG, a smaller copy, no chunk"),
    "judges": (
        None,
        "measure what each of all judges says of each of all ciphers instead",
    ),
    "evaluate output": (
        "DIR",
        "folder of what judges said, for --judges; a stopped run goes on there",
    ),
    "gallery": ("N", "generated strangers among whom --judges looks for a person"),
    "evaluate from_pixels": (None, "measure decryption from changed pixels instead"),
    "inversion": (None, "measure inversions instead; minutes a picture"),
    "whole": (
        None,
        "encrypt and decrypt whole photographs, as the commands do, and measure that; "
        "minutes a face",
    ),
    "photo": ("FILE", "a photograph, in place of generated people; repeatable"),
    "n": ("N", "number of generated people"),
    "attack n": (
        "N",
        "number of generated people  [default: guesses 200, rows 70, codes 4, "
        "pictures and again 500, learned 1000]",
    ),
    "attack steps": (
        "N",
        "most steps of each inversion; 0: the encoder's guess; 60 take a minute",
    ),
    "attack photo": (
        "FILE",
        "a photograph: one more right guess; rows: in place of people; repeatable",
    ),
    "attack layers": (
        "A-B",
        "rows that are edited; repeatable, for a table  [default: the cipher's]",
    ),
    "attack stratum": (
        None,
        "generated people: one w in all rows, or rows of two people; repeatable  "
        "[default: rows both, others W]",
    ),
    "guesses": ("N", "wrong passwords for each person"),
    "codes": (
        "DIR",
        "folder that keeps what takes long, inversions or the judges' numbers: a "
        "stopped run goes on from there",
    ),
    "people": ("N", "number of generated people"),
    "psi": ("X", "truncation of generated people: 0.7, 0.85 or 1"),
    "stratum": (None, "generated people: one w in all rows, or rows of two people"),
    "fit": ("N", "people for whom --from-pixels also searches a code; minutes each"),
    "noise": (None, "put in random rows, not another person's"),
    "seed": ("N", "of all random draws"),
    "train seed": ("N", "of all random draws of a new run  [default: 0]"),
    "json": ("FILE", "also write the result as JSON"),
    "compare json": (None, "print JSON, without a verdict"),
    "preset": (None, "size of a new run; smoke is a test of a few steps"),
    "tables": (
        None,
        "measure the paper's Tables 1 to 3 for this and all other systems instead; "
        "more than half an hour. With --json, a stopped run goes on",
    ),
    "hifd": (
        "DIR",
        "with --tables, also write what each judge said of each picture, for the "
        "package hifd",
    ),
    "evaluate preset": (None, "how much --tables measures; smoke takes two minutes"),
    "device": (None, "where to train"),
    "judge": ("FILE", "a judge of codes of your own, for the faithful mapper"),
    "rounds": (
        "N",
        "make N judges of codes and faithful mappers by turns, from nothing; the same "
        "command goes on with it",
    ),
    "until": ("STEP", "stop there, short of the schedule"),
    "resume": ("DIR", "go on with the run in DIR"),
    "licences": (None, "list their terms only"),
}
