"""Words that the shop's search and reward know by heart."""

_COLOURS = """
alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux
bronze brown burgundy camel camo caramel champagne charcoal cheetah chestnut
chocolate christmas coffee cognac copper coral cranberry cream crystal dark
denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray
green grey heather indigo ivory ivy khaki lavender lemon leopard light lilac
lime magenta maroon mauve merlot midnight mint mocha multicolor mushroom
mustard natural navy nude olive orange peach pewter pink plum purple rainbow
red rose royal rust sand sapphire seashell silver skull slate steel stone
stonewash sunflower tan taupe teal tiger turquoise violet walnut wheat white
wine yellow
"""
# In this order the first one that an option contains, be it within a word,
# stands for the option.
COLOURS = tuple(_COLOURS.split())

_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the
their then there these they this to was will with
"""
# Not searched, as in Lucene's English analysis.
STOP_WORDS = frozenset(_STOP_WORDS.split())

_NO_NOUNS = """
a about after all also an and any are as at be best both but by can do each
every extra for from great has have her high his how if in into is it its just
large less low made make many medium more most my new no non not of off on one
only or other our out over own per pack packs small so such super than that the
their them then these they this those through to too two under up use used very
via was we what when which while who will with without x you your cm ft fl g gb
inch inches kg lb lbs m mg ml mm oz pcs tb v w
"""
# Function words, units and common adjectives of titles.
NO_NOUNS = frozenset(_NO_NOUNS.split())
