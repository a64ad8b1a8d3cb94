"""Tables 1 to 3 of the paper, as printed: numbers to set beside measured ones.

Source: Zhang, Wei, Zhou, Zhao, Zhang and Yu, "FaceRSA: RSA-Aware Facial Identity
Cryptography Framework", AAAI 2024, Tables 1, 2 and 3, and the captions of its figures.
They were measured by other judges, on other pictures and people, so a row here and a
row of ours agree at best in their order.
"""

from __future__ import annotations

from collections.abc import Mapping

# Lines of Table 1, and the properties of section 3.1 that each of them needs.
FUNCTIONS: Mapping[str, str] = {
    "Face Anonymization": "b",
    "Face Deanonymization": "cd",
    "Sequential Anonymization and Deanonymization": "f",
    "Password Interchangeability": "g",
    "Password Associativity": "h",
}
# Table 1: which functions each system has.
TABLE_1: Mapping[str, str] = {
    "DeepPrivacy": "b",
    "IdentityDP": "b",
    "Li et al.": "b",
    "FIT": "bcd",
    "Cao et al.": "bcd",
    "RiDDLE": "bcd",
    "FaceRSA": "bcdfgh",
}
# Table 2: cosine of ArcFace, share detected by dlib, distance of landmarks, cosines of
# pose and of expression.
TABLE_2: Mapping[str, Mapping[str, float]] = {
    "CIAGAN": {
        "id": 0.150,
        "detected": 0.950,
        "landmarks": 1.208,
        "pose": 0.930,
        "expression": 0.283,
    },
    "DeepPrivacy": {
        "id": 0.118,
        "detected": 0.998,
        "landmarks": 0.023,
        "pose": 0.966,
        "expression": 0.289,
    },
    "FIT": {
        "id": 0.296,
        "detected": 0.992,
        "landmarks": 0.011,
        "pose": 0.971,
        "expression": 0.341,
    },
    "RiDDLE": {
        "id": 0.115,
        "detected": 0.999,
        "landmarks": 0.013,
        "pose": 0.956,
        "expression": 0.314,
    },
    "FaceRSA": {
        "id": 0.247,
        "detected": 1.000,
        "landmarks": 0.009,
        "pose": 0.996,
        "expression": 0.546,
    },
}
# Table 3: recovery, against the inversion.
TABLE_3: Mapping[str, Mapping[str, float]] = {
    "FIT": {
        "lpips": 0.1780,
        "mse": 0.0064,
        "psnr": 61.21,
        "ssim": 0.9928,
        "id": 0.6767,
    },
    "RiDDLE": {
        "lpips": 0.0324,
        "mse": 0.0124,
        "psnr": 67.61,
        "ssim": 0.9987,
        "id": 0.8315,
    },
    "FaceRSA": {
        "lpips": 0.0099,
        "mse": 0.0019,
        "psnr": 75.51,
        "ssim": 0.9996,
        "id": 0.9206,
    },
}
# What Figures 3 to 7 are to show, in our words.
CLAIMS: Mapping[str, str] = {
    "Figure 3": "FaceRSA keeps most of what is not identity",
    "Figure 4": "FaceRSA recovers the original best",
    "Figure 5": "only FaceRSA undoes a chain of two passwords in order",
    "Figure 6": "only FaceRSA undoes a chain in another order",
    "Figure 7": "only in FaceRSA a sum of passwords does what the chain does",
}
# Which of the systems here stands for which of the paper's.
STANDS_FOR: Mapping[str, str] = {
    "DeepPrivacy-like": "DeepPrivacy",
    "CIAGAN-like": "CIAGAN",
    "IdentityDP-like, eps 8": "IdentityDP",
    "Li-like": "Li et al.",
    "FIT-like": "FIT",
    "Cao-like": "Cao et al.",
    "RiDDLE-like": "RiDDLE",
    "ours, faithful": "FaceRSA",
}
