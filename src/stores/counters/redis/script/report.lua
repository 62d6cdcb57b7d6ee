-- A node tells an organization that was rebuilt what it had admitted and the record lacked, in parts that are counted
-- once each and in their order; or only asks; or says that there is nothing to tell to these counts (the last
-- part, without a number): of an epoch, or of the build that has this token, where one is named.
--
-- KEYS  1 the organization  2 what nodes have reported  3 slots by node  4… the keys of the part, in its order
-- ARGV  one text of JSON: see src/stores/counters/redis/wire.rs
-- Returns a list of whole numbers: what became of it; if the organization is known its epoch, 1 where it may be claimed
-- by, the last batch of the node's log it was built with (-1: none), parts counted, 1 where these are all, 1 where the
-- node is waited for.

local DONE, MISSING, OTHER_EPOCH = 0, 1, 2
local SLOTS_FOR = 10000000

local call = cjson.decode(ARGV[1])
local now, node, spool, epoch, number, is_last = call[1], call[2], call[3], call[4], call[5], call[6]
local recent, keys, slots, build = call[7], call[8], call[9], call[10]

local org = load_organization(KEYS[1])
if not org then return { MISSING } end
if epoch ~= 0 and epoch ~= org.epoch then return { OTHER_EPOCH } end
org.clock = max(org.clock, now > 0 and now or clock())
local counted = tonumber(redis.call('HGET', KEYS[2], 'c' .. node)) or 0
local function is_heard()
  if redis.call('HDEL', KEYS[2], 'w' .. node) == 1 then org.awaited = org.awaited - 1 end
end

if number == 0 and is_last and (build == '' or build == redis.call('HGET', KEYS[2], 'build')) then
  -- It is not down as having reported: what it may come to tell still counts.
  is_heard()
  save_organization(org)
end
if number > 0 and number == counted + 1 then
  expire_all(org, nil)
  for _, cell in ipairs(recent) do
    local at = min(cell[1], org.clock)
    add(org.second, at, cell[2], org.clock)
    add(org.minute, at, cell[2], org.clock)
  end
  for place, given in ipairs(keys) do
    local field, key = given[1], nil
    if field ~= '' then
      key = load_key(org, KEYS[place + 3], field)
      if not key then
        -- Lost since: all of it is rebuilt.
        redis.call('HDEL', KEYS[1], 'm')
        return { MISSING }
      end
      expire_all(org, key)
    end
    for _, cell in ipairs(given[2]) do
      local at = min(cell[1], org.clock)
      spent(org.spend, at, cell[2], cell[3])
      if key then
        add(key.day, at, cell[2], org.clock)
        add(key.week, at, cell[2], org.clock)
        add(key.month, at, cell[2], org.clock)
        spent(key.spend, at, cell[2], cell[3])
        key.total, key.used_at = key.total + cell[2], max(key.used_at, at)
      end
    end
    if key then save_key(org, key) end
  end
  counted = number
  redis.call('HSET', KEYS[2], 'c' .. node, counted)
  if is_last then
    redis.call('HSET', KEYS[2], 'e' .. node, 1)
    is_heard()
    if slots[2] > 0 then
      redis.call('HSET', KEYS[3], node, cmsgpack.pack({ slots[1], slots[2], slots[2], org.clock + SLOTS_FOR, org.epoch }))
      redis.call('EXPIRE', KEYS[3], TTL_SECONDS)
    end
  end
  redis.call('EXPIRE', KEYS[2], TTL_SECONDS)
  save_organization(org)
end

local shipped = tonumber(redis.call('HGET', KEYS[2], 's' .. spool)) or -1
local is_whole = redis.call('HEXISTS', KEYS[2], 'e' .. node)
local is_awaited = redis.call('HEXISTS', KEYS[2], 'w' .. node)
return { DONE, org.epoch, is_open(org) and 1 or 0, shipped, counted, is_whole, is_awaited }
