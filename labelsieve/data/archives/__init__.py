"""Benchmark data sets as their authors publish them: one archive per file, read where it lies.

A file of this room offers:

    WHERE: str                              where to get it, and what its folder must hold
    CITE: str                               what to cite
    SPLITS: tuple[str, ...]                 its parts; "train" and "test" always among them
    read(directory, split) -> Listing       the images of one part with their label sets
                                            (`labelsieve.data.sources.archive`)
    open(directory, split) -> DataSpec      the same as data that everything else takes:
                                            archive:NAME:FOLDER, with label columns and the
                                            names that classes have in prompts

The first label set is the given one. A second, true one is named as `truth_column` where labels
are really noisy; else the labels are the benchmark's own and count as true.

Archives come from strangers: nothing in them is ever unpickled, their compressed parts are not
unpacked beyond the size they should have, and names that lead out of their folder are refused.
"""
