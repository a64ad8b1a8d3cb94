"""Experiments: properties, localisation, ablation, attacks, robustness."""
