"""A fleet that is not there: devices that say what real ones would, by a scenario and a seed.

For tests, demos and planning. `filling.fill` puts hours of many devices into a store within seconds;
`crowd.Crowd` lets them speak through a broker, as `edgeflock fleet simulate` does.
"""
