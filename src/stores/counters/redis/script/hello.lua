-- Says that a node is there, and learns how many are and which of them it is (from 0, in the order of their names).
--
-- KEYS  1 all nodes, by the time of their last word   ARGV  1 the node  2 how long a word counts, in microseconds
-- Returns the clock, the number of nodes, this node's place among them, and 1 where Redis knew of no node before.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local is_empty = redis.call('EXISTS', KEYS[1]) == 0
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('EXPIRE', KEYS[1], 600)
local names = redis.call('ZRANGE', KEYS[1], 0, -1)
table.sort(names)
local place = 0
for index, name in ipairs(names) do
  if name == ARGV[1] then place = index - 1 end
end
return { now, #names, place, is_empty and 1 or 0 }
