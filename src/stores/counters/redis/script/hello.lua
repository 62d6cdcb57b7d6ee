-- Says that a node is there, and learns who else is, and which organizations were rebuilt of late; may say of some that
-- they are about to be.
--
-- KEYS  1 all nodes, by the time of their last word  2 organizations that were rebuilt, by when that was announced
-- ARGV  1 the node  2 how long a word counts, in microseconds  3 since when to tell of organizations, on this clock
--       4… organizations to be rebuilt, each with the token of who does so; behind them what the server calls itself
-- Returns the clock; when Redis was found to know of no node, 0 where that was longer ago than a word counts; the names
-- of all nodes in their order; organizations with tokens, each behind the instant of its announcement.

-- Stands among the nodes for the instant at which there were none.
local NOBODY = ''
local REMEMBERED_FOR, AT_ONCE = 60000000, 500

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZADD', KEYS[1], now, NOBODY) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('EXPIRE', KEYS[1], 600)
local names = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if name ~= NOBODY then names[#names + 1] = name end
end
table.sort(names)

if #ARGV > 4 then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - REMEMBERED_FOR)
  for place = 4, #ARGV - 1 do
    redis.call('ZADD', KEYS[2], now, ARGV[place])
  end
  redis.call('EXPIRE', KEYS[2], 600)
end
local rebuilt = redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[3], '+inf', 'WITHSCORES', 'LIMIT', 0, AT_ONCE)
return { now, math.floor(tonumber(redis.call('ZSCORE', KEYS[1], NOBODY) or 0)), names, rebuilt }
