"""Which events are worth telling somebody: rules as data, and a judgement that asks no clock and no store."""
