-- What every script of the counters begins with: the rings of src/domain/ring.rs and the calendar counts of
-- src/domain/spend.rs, kept in hashes. Numbers are whole and below 2^53; times are microseconds of Unix time.
--
-- An organization is one hash, each of its keys another; all lie under one hash tag. Field `m` of a hash holds
-- what is read in every call (MessagePack); each cell of a ring with admissions is a field of its own, named by
-- the ring's letter and the cell's place in a cycle somewhat longer than the window.

local floor, min, max, huge = math.floor, math.min, math.max, math.huge

local ENCODING = 3
-- Longer than the longest window with its cell. Whoever comes back later is rebuilt from the request log.
local TTL_SECONDS = 40 * 86400

local function window(letter, span_seconds, cells)
  local span = span_seconds * 1000000
  return { letter = letter, span = span, cell = span / cells, places = cells + 4 }
end
local SECOND, MINUTE = window('s', 1, 20), window('i', 60, 20)
local DAY, WEEK, MONTH = window('d', 86400, 288), window('w', 7 * 86400, 288), window('o', 30 * 86400, 288)

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- A ring: its window, the hash it lies in, and {sum, oldest cell, newest cell} as kept in that hash's `m`.
local function ring(window, hash, kept)
  return { window = window, hash = hash, sum = kept[1], old = kept[2], new = kept[3] }
end

local function kept(ring)
  return { ring.sum, ring.old, ring.new }
end

local function field(window, cell)
  return window.letter .. (cell % window.places)
end

-- The oldest cell that counts at `now`: the first whose end lies less than a span back.
local function first_counting(window, now)
  return floor((now - window.span) / window.cell)
end

-- Counts of all cells, oldest first.
local function cells(ring)
  local fields = {}
  for cell = ring.old, ring.new do
    fields[#fields + 1] = field(ring.window, cell)
  end
  local counts = redis.call('HMGET', ring.hash, unpack(fields))
  for place = 1, #counts do
    counts[place] = tonumber(counts[place]) or 0
  end
  return counts
end

-- Drops cells before `first`, and finds the oldest that is left.
local function expire_before(ring, first)
  local gone, sum, oldest = {}, 0, nil
  for place, count in ipairs(cells(ring)) do
    local cell = ring.old + place - 1
    if count > 0 and cell < first then
      gone[#gone + 1] = field(ring.window, cell)
    elseif count > 0 then
      sum, oldest = sum + count, oldest or cell
    end
  end
  if #gone > 0 then redis.call('HDEL', ring.hash, unpack(gone)) end
  ring.sum, ring.old = sum, oldest or 0
  if not oldest then ring.new = 0 end
end

local function expire(ring, now)
  local first = first_counting(ring.window, now)
  if ring.sum > 0 and ring.old < first then expire_before(ring, first) end
end

-- Counts n admissions of `at`, which must not lie in a later cell than `now`; nothing where that has expired.
local function add(ring, at, n, now)
  local cell = floor(at / ring.window.cell)
  if n == 0 or cell < first_counting(ring.window, now) then return end
  redis.call('HINCRBY', ring.hash, field(ring.window, cell), n)
  if ring.sum == 0 then
    ring.old, ring.new = cell, cell
  else
    ring.old, ring.new = min(ring.old, cell), max(ring.new, cell)
  end
  ring.sum = ring.sum + n
end

-- Takes back up to n admissions of `at`'s cell.
local function take_back(ring, at, n)
  local cell = floor(at / ring.window.cell)
  if ring.sum == 0 or cell < ring.old or cell > ring.new then return end
  local name = field(ring.window, cell)
  local had = tonumber(redis.call('HGET', ring.hash, name)) or 0
  n = min(n, had)
  if n == 0 then return end
  if n < had then
    redis.call('HINCRBY', ring.hash, name, -n)
  else
    redis.call('HDEL', ring.hash, name)
  end
  ring.sum = ring.sum - n
  if ring.sum == 0 then
    ring.old, ring.new = 0, 0
  elseif n == had and cell == ring.old then
    expire_before(ring, cell)
  end
end

local function count(ring, at, n, now)
  if n > 0 then add(ring, at, n, now) else take_back(ring, at, -n) end
end

local function expiry(window, cell)
  return (cell + 1) * window.cell + window.span
end

-- When the oldest admission stops counting; 0 where there is none.
local function next_expiry(ring)
  return ring.sum == 0 and 0 or expiry(ring.window, ring.old)
end

-- When the sum will have fallen below `cap` if nothing more is admitted; 0 where it never will.
local function below_at(ring, cap)
  local left = ring.sum
  if left == 0 then return 0 end
  for place, count in ipairs(cells(ring)) do
    left = left - count
    if count > 0 and left < cap then return expiry(ring.window, ring.old + place - 1) end
  end
  return 0
end

-- The numbers of the day, week (from Monday) and month that an instant lies in (UTC). The month is worked out as
-- in Howard Hinnant's chrono-Compatible Low-Level Date Algorithms, `civil_from_days`.
local function periods(at)
  local day = floor(at / 86400000000)
  local z = day + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return { day, floor((day + 3) / 7), year * 12 + month }
end

-- Calendar counts are three of {period, requests, microcents}, by day, week and month.
local function turn(spend, present)
  for kind = 1, 3 do
    if spend[kind][1] ~= present[kind] then spend[kind] = { present[kind], 0, 0 } end
  end
end

-- Adds to the counts of the periods that `at` lies in, where these are the present ones.
local function spent(spend, at, requests, microcents)
  local of = periods(at)
  for kind = 1, 3 do
    local period = spend[kind]
    if period[1] == of[kind] then
      period[2], period[3] = max(period[2] + requests, 0), max(period[3] + microcents, 0)
    end
  end
end

local function nothing_spent()
  return { { 0, 0, 0 }, { 0, 0, 0 }, { 0, 0, 0 } }
end

-- This server as the caller knows it, by the run_id that each process of Redis makes up for itself, and those of other
-- masters; '' where the caller does not know.
local SERVERS = ARGV[#ARGV]
local SERVER = string.match(SERVERS, '^[^ ]*') or ''

-- Whether what a server counted is whole: this one, or one that lives and has handed it over. What is from another
-- process, this one having it as its replica or from a file, may lack the last of it.
local function is_whole(server)
  return SERVER == '' or server == SERVER or server ~= '' and string.find(SERVERS, server, 1, true) ~= nil
end

-- The organization's part of a call; nil where Redis does not know it, or not all of it.
local function load_organization(hash)
  local packed = redis.call('HGET', hash, 'm')
  if not packed then return nil end
  local m = cmsgpack.unpack(packed)
  if m[1] ~= ENCODING or not is_whole(m[11]) then return nil end
  return {
    hash = hash, epoch = m[2], clock = m[3], leases = m[4],
    second = ring(SECOND, hash, m[5]), minute = ring(MINUTE, hash, m[6]), spend = m[7],
    awaited = m[8], opens_from = m[9], opens_by = m[10],
  }
end

-- Whether anybody may claim by it: every node that was there when it was rebuilt has reported, or has had the time.
local function is_open(org)
  return org.clock >= org.opens_by or org.awaited == 0 and org.clock >= org.opens_from
end

-- An organization's epoch is the instant at which its counts were built.
local function new_organization(hash, now)
  return {
    hash = hash, epoch = now, clock = now, leases = {},
    second = ring(SECOND, hash, { 0, 0, 0 }), minute = ring(MINUTE, hash, { 0, 0, 0 }), spend = nothing_spent(),
    awaited = 0, opens_from = 0, opens_by = 0,
  }
end

local function save_organization(org)
  local m = { ENCODING, org.epoch, org.clock, org.leases,
    kept(org.second), kept(org.minute), org.spend, org.awaited, org.opens_from, org.opens_by, SERVER }
  redis.call('HSET', org.hash, 'm', cmsgpack.pack(m))
  redis.call('EXPIRE', org.hash, TTL_SECONDS)
end

-- A key's total lies in its organization's hash with the time of its last use, as it must outlive the windows and
-- shows that a key's own hash was lost.
local function load_key(org, hash, field)
  local known = redis.call('HGET', org.hash, field)
  local total, used_at = 0, 0
  if known then
    local parts = cmsgpack.unpack(known)
    total, used_at = parts[1], parts[2]
  end
  local packed = redis.call('HGET', hash, 'm')
  local m = packed and cmsgpack.unpack(packed)
  if not m or m[1] ~= ENCODING then
    if used_at + MONTH.span + MONTH.cell > org.clock then return nil end
    m = { ENCODING, {}, { 0, 0, 0 }, { 0, 0, 0 }, { 0, 0, 0 }, nothing_spent() }
  end
  return {
    hash = hash, field = field, total = total, used_at = used_at, leases = m[2],
    day = ring(DAY, hash, m[3]), week = ring(WEEK, hash, m[4]), month = ring(MONTH, hash, m[5]), spend = m[6],
  }
end

local function save_key(org, key)
  local m = { ENCODING, key.leases, kept(key.day), kept(key.week), kept(key.month), key.spend }
  redis.call('HSET', key.hash, 'm', cmsgpack.pack(m))
  redis.call('EXPIRE', key.hash, TTL_SECONDS)
  redis.call('HSET', org.hash, key.field, cmsgpack.pack({ key.total, key.used_at }))
end

-- Counts n admissions of `at` (takes them back where n is negative) and adds to what is spent, everywhere.
local function count_everywhere(org, key, at, n, microcents)
  at = min(at, org.clock)
  count(org.second, at, n, org.clock)
  count(org.minute, at, n, org.clock)
  spent(org.spend, at, n, microcents)
  if not key then return end
  count(key.day, at, n, org.clock)
  count(key.week, at, n, org.clock)
  count(key.month, at, n, org.clock)
  spent(key.spend, at, n, microcents)
  key.total = max(key.total + n, 0)
  if n > 0 then key.used_at = max(key.used_at, at) end
end

local function expire_all(org, key)
  local present = periods(org.clock)
  expire(org.second, org.clock)
  expire(org.minute, org.clock)
  turn(org.spend, present)
  if not key then return end
  expire(key.day, org.clock)
  expire(key.week, org.clock)
  expire(key.month, org.clock)
  turn(key.spend, present)
end
