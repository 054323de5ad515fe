"""Domains: what is adapted, on which data, and the wall between dev and test.

:mod:`~stm_agent.domain.spec` is the domain file, :mod:`~stm_agent.domain.collection` corpus, queries and judgements,
:mod:`~stm_agent.domain.beir` how they lie on disk, :mod:`~stm_agent.domain.data` what a collection gives to training,
and :mod:`~stm_agent.domain.firewall` the one way to the test judgements.
"""
