-- Address guards tell each other who failed to authenticate and who is blocked. All keys lie under one hash tag.
--
-- KEYS  1 blocked addresses, by the end of their block  2 addresses of which there was news, by when
--       3… the failures of each address told, by cell, in the order of the addresses
-- ARGV  one text of JSON: {since when to tell news on this clock, when the caller found this began, failures that block,
--         the time in which they count, how long a block lasts, addresses blocked at most, {{address, failures, block}…}}
--         block: 0 where nothing is said of one, -1 where there shall be none, else how long it lasts; all in microseconds
-- Returns the clock; when this began; blocks given up; then of each address with news how long it stays blocked, 0 where
-- it does not.

-- Stands among the addresses for the instant at which this began.
local BEGAN = ''
local CELLS, NEWS_FOR, AT_ONCE = 20, 60000000, 500

local call = cjson.decode(ARGV[1])
local since, known_began, limit, within, block_for, most, told =
  call[1], call[2], call[3], call[4], call[5], call[6], call[7]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local width = math.max(math.ceil(within / CELLS), 1)
local cell = math.floor(now / width)

local began = tonumber(redis.call('ZSCORE', KEYS[2], BEGAN) or now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)

local function block(address, ends)
  local known = tonumber(redis.call('ZSCORE', KEYS[1], address) or 0)
  if known > now then return end
  redis.call('ZADD', KEYS[1], ends, address)
  redis.call('ZADD', KEYS[2], now, address)
end

-- Failures of the cells that count, with those of now.
local function failed(ring, n)
  redis.call('HINCRBY', ring, cell, n)
  local sum, all = 0, redis.call('HGETALL', ring)
  for place = 1, #all, 2 do
    if tonumber(all[place]) < cell - CELLS then
      redis.call('HDEL', ring, all[place])
    else
      sum = sum + tonumber(all[place + 1])
    end
  end
  redis.call('PEXPIRE', ring, math.ceil((within + 2 * width) / 1000))
  return sum
end

for place, of in ipairs(told) do
  local address, n, blocked, ring = of[1], of[2], of[3], KEYS[place + 2]
  if blocked < 0 then
    redis.call('ZREM', KEYS[1], address)
    redis.call('ZADD', KEYS[2], now, address)
    redis.call('DEL', ring)
  elseif blocked > 0 then
    block(address, now + blocked)
    redis.call('DEL', ring)
  elseif failed(ring, n) >= limit then
    block(address, now + block_for)
    redis.call('DEL', ring)
  end
end

local over = redis.call('ZCARD', KEYS[1]) - most
if over > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, over - 1) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - NEWS_FOR)
redis.call('ZADD', KEYS[2], began, BEGAN)
redis.call('EXPIRE', KEYS[2], 3600)
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if last then redis.call('PEXPIREAT', KEYS[1], math.ceil(tonumber(last) / 1000)) end

local answer = { now, began, math.max(over, 0) }
local function tell(address, ends)
  answer[#answer + 1] = address
  answer[#answer + 1] = math.max(math.floor(tonumber(ends) - now), 0)
end
if known_began ~= began or now - since > NEWS_FOR then
  -- News of before are not there any more: all who are blocked for longest.
  local all = redis.call('ZREVRANGE', KEYS[1], 0, 10 * AT_ONCE - 1, 'WITHSCORES')
  for place = 1, #all, 2 do tell(all[place], all[place + 1]) end
else
  local new = redis.call('ZRANGEBYSCORE', KEYS[2], since, '+inf', 'WITHSCORES', 'LIMIT', 0, AT_ONCE)
  for place = 1, #new, 2 do
    if new[place] ~= BEGAN then tell(new[place], redis.call('ZSCORE', KEYS[1], new[place]) or 0) end
  end
  -- Where there is more, the next answer begins with the last of this one.
  if #new >= 2 * AT_ONCE then answer[1] = tonumber(new[#new]) end
end
return answer
