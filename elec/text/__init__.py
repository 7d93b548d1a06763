"""Records become text, in the paper's template, each distinct text once; long text becomes tags.

`elec.text.textify.textify` does it for a training frame, `elec.text.template` for any columns, and
`elec.text.summarise.summarise` makes the tags.
"""
