-- Says that a node is gone and has nothing to tell any more: nobody waits for it.
--
-- KEYS  1 all nodes, by the time of their last word   ARGV  1 the node

redis.call('ZREM', KEYS[1], ARGV[1])
-- That nobody is left does not mean that Redis was emptied (hello.lua): a word of nobody's that no longer counts.
redis.call('ZADD', KEYS[1], 'NX', 1, '')
redis.call('EXPIRE', KEYS[1], 600)
return 1
