-- One call of one node for one key: first what it gives back, then what it asks for. All or nothing.
--
-- KEYS  1 the organization  2 the key; the organization where there is none  3 this node's calls by key  4 slots by
--   node, where it asks for some. In a cluster, a script that meets a key that is missing while its slot is on its way to
--   another master fails in the middle: no hash that was there may become empty before it is written.
-- ARGV  one text of JSON: see src/stores/counters/redis/wire.rs
-- Returns a list of whole numbers: see there. The first says what became of the call.

local DONE, MISSING, OTHER_EPOCH, STALE = 0, 1, 2, 3
local CONCURRENCY, PER_SECOND, PER_MINUTE, TOTAL, DAILY, WEEKLY, MONTHLY = 1, 2, 3, 4, 5, 6, 7
local KEY_REQUESTS, KEY_BUDGET, ORG_REQUESTS, ORG_BUDGET = 8, 9, 10, 11

-- How long a node's slots are its own without a word from it. A node lets go of them well before.
local SLOTS_FOR = 10000000
-- A node's record of calls may go once none of its calls can still be on the way.
local RECORD_SECONDS = 3600
-- How long after the end of a cell its unspent allowances may still be on their way back: a node that lives says so at
-- once, but may stand still for a moment on a machine that is busy.
local RETURNING = 250000

local call = cjson.decode(ARGV[1])
local now, node, epoch, seq, acked, nodes = call[1], call[2], call[3], call[4], call[5], call[6]
local waiting, rate, left, estimate = call[7], call[8], call[9], call[10]
local caps, key_limit, org_limit = call[11], call[12], call[13]
local slots, key_field, entries = call[14], call[15], call[16]

local org = load_organization(KEYS[1])
if not org then return { MISSING } end
if epoch ~= 0 and epoch ~= org.epoch then return { OTHER_EPOCH } end
-- A replay brings its own time. Time never runs backwards for an organization, whatever a clock does.
org.clock = max(org.clock, now > 0 and now or clock())
now = org.clock
if not is_open(org) then return { OTHER_EPOCH } end
local key
if key_field ~= '' then
  key = load_key(org, KEYS[2], key_field)
  if not key then
    -- Lost alone, as by an eviction. What else may be lost nobody knows: all of the organization is rebuilt.
    redis.call('HDEL', KEYS[1], 'm')
    return { MISSING }
  end
end

-- What this node's last call for this key was: its epoch and number, what it granted and when, what stayed leased.
local record = redis.call('HGET', KEYS[3], key_field)
record = record and cmsgpack.unpack(record)
if not record or record[1] ~= org.epoch then record = { org.epoch, 0, 0, 0, 0, 0, 0 } end
if seq <= record[2] then return { STALE } end
-- Before anything is counted: the places of a ring are used again as soon as their cells have expired.
expire_all(org, key)
if record[2] > acked and record[3] > 0 then
  -- Its answer never reached the node: nobody can spend what it granted.
  count_everywhere(org, key, record[5], -record[3], -record[4])
end
for _, entry in ipairs(entries) do
  -- What came with an earlier call that was carried out is not counted twice.
  if entry[1] > record[2] then count_everywhere(org, key, entry[2], entry[3], entry[4]) end
end

-- Allowances that nodes hold and may give back, {end of their cell, how many, …}, oldest first: whether waiting is worth
-- it. This node's own of the last call are no more.
local function settle_leases(scope)
  local leases = {}
  for place = 1, #scope.leases, 2 do
    local cell_end, leased = scope.leases[place], scope.leases[place + 1]
    if cell_end == record[7] then leased = leased - record[6] end
    if leased > 0 and cell_end + RETURNING > now then
      leases[#leases + 1] = cell_end
      leases[#leases + 1] = leased
    end
  end
  scope.leases = leases
end
settle_leases(org)
if key then settle_leases(key) end

-- Concurrency: this node's slots, of those that are not others'.
local held, free, in_flight = -1, 0, 0
if slots then
  local slots_seq, wanted, used, cap = slots[1], slots[2], slots[3], caps[1] >= 0 and caps[1] or 2 ^ 52
  local others, mine, silent = 0, nil, {}
  local all = redis.call('HGETALL', KEYS[4])
  for place = 1, #all, 2 do
    local of = cmsgpack.unpack(all[place + 1])
    if of[4] <= now or of[5] ~= org.epoch then
      if all[place] ~= node then silent[#silent + 1] = all[place] end
    elseif all[place] == node then
      mine = of
    else
      others, in_flight = others + of[2], in_flight + of[3]
    end
  end
  if mine and mine[1] >= slots_seq then
    held = -1
    free = max(cap - others - mine[2], 0)
  else
    local room = max(cap - others, 0)
    -- Those in flight are a fact, those waiting are served first, and what is only expected gets a share.
    local asking = used + slots[4]
    local spare = max(min(wanted - asking, floor((room - asking) / (2 * nodes))), 0)
    held = max(used, min(asking + spare, room))
    free = max(room - held, 0)
    redis.call('HSET', KEYS[4], node, cmsgpack.pack({ slots_seq, held, used, now + SLOTS_FOR, org.epoch }))
    redis.call('EXPIRE', KEYS[4], TTL_SECONDS)
  end
  if #silent > 0 then redis.call('HDEL', KEYS[4], unpack(silent)) end
end

-- The first limit, in the order of the contract, that has no room, and how much room there is in all of them.
local room, refused, retry_at = huge, 0, 0
local function bound(limit, has, at)
  room = min(room, has)
  if refused == 0 and has <= 0 then
    refused, retry_at = limit, at and at() or 0
  end
end
local function bound_ring(limit, cap, ring)
  if cap >= 0 then bound(limit, cap - ring.sum, function() return below_at(ring, cap) end) end
end
local function bound_spend(limits, limit, spend)
  if not limit then return end
  local period = spend[limit[1] + 1]
  if limit[2] >= 0 then bound(limits[1], limit[2] - period[2]) end
  if limit[3] >= 0 then
    local has = limit[3] - period[3]
    -- A budget that is used up refuses an estimate of nothing too.
    if has > 0 then has = estimate > 0 and floor(has / estimate) or huge end
    bound(limits[2], has)
  end
end
if held >= 0 and caps[1] >= 0 then
  if slots[4] > 0 and held <= slots[3] then refused = CONCURRENCY else waiting = min(waiting, held - slots[3]) end
end
if refused == 0 then
  bound_ring(PER_SECOND, caps[2], org.second)
  bound_ring(PER_MINUTE, caps[3], org.minute)
  if key then
    if caps[4] >= 0 then bound(TOTAL, caps[4] - key.total) end
    bound_ring(DAILY, caps[5], key.day)
    bound_ring(WEEKLY, caps[6], key.week)
    bound_ring(MONTHLY, caps[7], key.month)
    bound_spend({ KEY_REQUESTS, KEY_BUDGET }, key_limit, key.spend)
  end
  bound_spend({ ORG_REQUESTS, ORG_BUDGET }, org_limit, org.spend)
end

-- The lease: what waits, and what will probably be asked for until the cell ends, of which the node takes no more
-- than a share of what remains.
local cell_end = (floor(now / SECOND.cell) + 1) * SECOND.cell
local granted = 0
if refused == 0 and (waiting > 0 or rate > 0) then
  local expected = floor(rate * (cell_end - now) / SECOND.cell) - left
  local ahead = min(expected, floor((room - waiting) / (2 * nodes)))
  granted = min(room, waiting + max(ahead, 0))
  if granted > 0 then count_everywhere(org, key, now, granted, granted * estimate) end
end

local leased = left + granted - min(granted, waiting)
local elsewhere, back_at = 0, 0
local others = refused >= TOTAL and refused <= KEY_BUDGET and key.leases or org.leases
for place = #others - 1, 1, -2 do
  elsewhere, back_at = elsewhere + others[place + 1], others[place]
end
local function lease(scope)
  local leases = scope.leases
  if leased == 0 then return end
  if leases[#leases - 1] == cell_end then
    leases[#leases] = leases[#leases] + leased
  else
    leases[#leases + 1] = cell_end
    leases[#leases + 1] = leased
  end
end
lease(org)
if key then
  lease(key)
  save_key(org, key)
end
save_organization(org)
redis.call('HSET', KEYS[3], key_field,
  cmsgpack.pack({ org.epoch, seq, granted, granted * estimate, now, leased, cell_end }))
redis.call('EXPIRE', KEYS[3], RECORD_SECONDS)

local spends = {}
for _, spend in ipairs({ key and key.spend or nothing_spent(), org.spend }) do
  for kind = 1, 3 do
    spends[#spends + 1], spends[#spends + 2] = spend[kind][2], spend[kind][3]
  end
end
return {
  DONE, org.epoch, now, cell_end, granted, refused, retry_at, elsewhere, back_at,
  held, free, in_flight,
  org.second.sum, next_expiry(org.second), org.minute.sum, next_expiry(org.minute),
  key and key.total or 0,
  key and key.day.sum or 0, key and next_expiry(key.day) or 0,
  key and key.week.sum or 0, key and next_expiry(key.week) or 0,
  key and key.month.sum or 0, key and next_expiry(key.month) or 0,
  unpack(spends)
}
