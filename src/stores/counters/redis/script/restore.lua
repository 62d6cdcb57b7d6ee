-- Rebuilds an organization that Redis does not know, in several calls of one node that holds the lock: the keys
-- first, a number of them per call, the organization last, with which it is known again. It may be claimed by when the
-- nodes that are named have reported what they admitted beside that (report.lua).
--
-- KEYS  1 the organization  2 the lock, which holds its owner's token  3 what nodes have reported  4… keys
-- ARGV  one text of JSON: {token, now, is first, keys, organization, instead}
--         keys: for each of KEYS from the fourth {field, total, last use, day, week, month, costs}: rings as {{at, requests}…}, costs
--           as {{at, requests, microcents}…}
--         organization: false, or {last minute, costs, {{field, total}…} keys of which only the total is known,
--           {{spool, its last batch}…}, nodes, {at least, at most} how long these are waited for, in microseconds}
--         instead: the epoch of counts whose place this takes where nobody may claim by them yet; 0: none may be there
-- Returns 1 where it was done, and at the end the epoch and 1 where anybody may claim by it, having let go of the lock; 0
-- where the organization is known already or the lock was lost.

local call = cjson.decode(ARGV[1])
local token, now, is_first, keys, organization, instead = call[1], call[2], call[3], call[4], call[5], call[6]
local known = load_organization(KEYS[1])
if known then
  known.clock = max(known.clock, now > 0 and now or clock())
  if not is_first or known.epoch ~= instead or is_open(known) then return 0 end
end
if redis.call('GET', KEYS[2]) ~= token then return 0 end
-- What is left of counts that were given up must not count again.
if is_first then redis.call('DEL', KEYS[1], KEYS[3]) end
local org = new_organization(KEYS[1], now > 0 and now or clock())
local present = periods(org.clock)

local function refill(ring, used, now)
  for _, cell in ipairs(used) do
    add(ring, min(cell[1], now), cell[2], now)
  end
end

local function respend(spend, costs)
  for _, cost in ipairs(costs) do
    spent(spend, cost[1], cost[2], cost[3])
  end
end

for place, given in ipairs(keys) do
  redis.call('DEL', KEYS[place + 3])
  local key = load_key({ hash = KEYS[1], clock = org.clock }, KEYS[place + 3], '')
  turn(key.spend, present)
  refill(key.day, given[4], org.clock)
  refill(key.week, given[5], org.clock)
  refill(key.month, given[6], org.clock)
  respend(key.spend, given[7])
  key.field, key.total, key.used_at = given[1], given[2], min(given[3], org.clock)
  save_key(org, key)
end

if organization then
  turn(org.spend, present)
  refill(org.second, organization[1], org.clock)
  refill(org.minute, organization[1], org.clock)
  respend(org.spend, organization[2])
  for _, idle in ipairs(organization[3]) do
    redis.call('HSET', KEYS[1], idle[1], cmsgpack.pack({ idle[2], 0 }))
  end
  for _, spool in ipairs(organization[4]) do
    redis.call('HSET', KEYS[3], 's' .. spool[1], string.format('%.0f', spool[2]))
  end
  for _, node in ipairs(organization[5]) do
    redis.call('HSET', KEYS[3], 'w' .. node, 1)
  end
  redis.call('HSET', KEYS[3], 'build', token)
  redis.call('EXPIRE', KEYS[3], TTL_SECONDS)
  org.awaited = #organization[5]
  org.opens_from, org.opens_by = org.clock + organization[6][1], org.clock + organization[6][2]
  save_organization(org)
  redis.call('DEL', KEYS[2])
  return { org.epoch, is_open(org) and 1 or 0 }
end
redis.call('EXPIRE', KEYS[1], TTL_SECONDS)
return 1
