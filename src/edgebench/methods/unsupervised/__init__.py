"""Masks of objects without any training: TokenCut, MaskCut and ProMerge, on the patch features of DINO.

Written from the papers' facts, not from the authors' code. All take features (h, w, d) of an image's patches and
answer with masks on that grid; `finish` brings them to the image.
"""
