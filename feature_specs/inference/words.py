"""What the words of a column's name tell."""

# As the last word: whatever the values look like, they name things.
NAMING = frozenset(
    """
    id ids uid uuid code zip zipcode postcode postal key idx index category cat type class group brand sku asin ean isbn phone
    region city state country cluster segment level month weekday dayofweek hour gender sex flag status version channel model no
    """.split()
)
# Integers under such a name are ids.
THINGS = frozenset(
    """
    user item movie ad advertiser campaign creative product shop store seller merchant device app site page query doc document
    article video song track artist customer client member account session visitor publisher genre tag author host banner slot
    userid itemid movieid adid msno
    """.split()
)
# Integers under such a name are quantities.
MEASURING = frozenset(
    """
    age price amount count counts cnt num number qty quantity total sum avg average mean max min score rate ratio pct percent
    duration length len size weight height width income salary balance distance lat lon lng temperature views clicks impressions
    days hours minutes seconds months years year cost fee revenue budget gain loss rank position visits orders sales rating votes
    population area volume speed tenure experience
    """.split()
)
# Integers under such a name may be Unix times.
TIMES = frozenset(
    """
    time timestamp ts date datetime at created updated unixtime epoch when unix
    """.split()
)
# Labels that mean yes, in lower case.
POSITIVE = frozenset(
    """
    yes y true t 1 positive pos click clicked buy bought purchase purchased like liked good win won success converted churn
    churned fraud spam high >50k >50k. on
    """.split()
)
USERS = frozenset("user userid uid customer customerid member memberid visitor visitorid client clientid".split())
ITEMS = frozenset("item itemid iid movie movieid product productid article articleid adid song songid videoid".split())
