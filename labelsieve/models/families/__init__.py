"""Image-text models: one family per file.

A file of this room offers:

    FAMILY: str                                        how a person calls it
    accepts(config) -> bool                            is this transformers configuration ours?
    load(folder_or_id, config, device, dtype) -> DualEncoder
"""
