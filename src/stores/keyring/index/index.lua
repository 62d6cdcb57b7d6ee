-- An entry of the key index: kept where nothing newer is known, or put out with the number of the change that did so.
--
-- KEYS  1 the entry   ARGV  1 `keep` or `put out`  2 the number of a change  3 seconds  4 what to keep
-- An entry begins with the number of the last change that its writer had seen before it read; one that is put out is
-- `-` and the number of the change. Returns 1 where it was written.

local known = redis.call('GET', KEYS[1])
local number = tonumber(ARGV[2])
if known then
  local is_out, seen = string.match(known, '^(%-?)(%d+)')
  seen = tonumber(seen) or 0
  -- Whoever read before a change must not bring back what it was; of two readers the later one is right.
  if ARGV[1] == 'keep' and number < seen then return 0 end
  if ARGV[1] == 'put out' and is_out == '-' and number < seen then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1] == 'keep' and ARGV[4] or '-' .. ARGV[2], 'EX', ARGV[3])
return 1
