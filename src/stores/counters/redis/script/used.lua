-- What is used of every limit of an organization and a key, nothing being claimed.
--
-- KEYS  1 the organization  2 the key  3 slots by node   ARGV  1 the key's field
-- Returns the clock, requests in flight, and of each ring its sum and next expiry with the key's total after the
-- minute; then requests and microcents per day, week and month of the key, and of the organization. An empty list where
-- Redis does not know them.

local org = load_organization(KEYS[1])
if not org then return {} end
org.clock = max(org.clock, clock())
local key = load_key(org, KEYS[2], ARGV[1])
if not key then return {} end
expire_all(org, key)
save_organization(org)
if key.used_at > 0 then save_key(org, key) end

local in_flight = 0
local all = redis.call('HVALS', KEYS[3])
for _, packed in ipairs(all) do
  local of = cmsgpack.unpack(packed)
  if of[4] > org.clock and of[5] == org.epoch then in_flight = in_flight + of[3] end
end
local used = { org.clock, in_flight, org.second.sum, next_expiry(org.second), org.minute.sum, next_expiry(org.minute),
  key.total, key.day.sum, next_expiry(key.day), key.week.sum, next_expiry(key.week), key.month.sum, next_expiry(key.month) }
for _, spend in ipairs({ key.spend, org.spend }) do
  for kind = 1, 3 do
    used[#used + 1], used[#used + 2] = spend[kind][2], spend[kind][3]
  end
end
return used
