-- Has Redis forget an organization whose counts are not complete and cannot be completed, so that it is rebuilt.
--
-- KEYS  1 the organization   ARGV  1 its epoch: what was built later stays

local org = load_organization(KEYS[1])
if not org or org.epoch ~= tonumber(ARGV[1]) then return 0 end
redis.call('HDEL', KEYS[1], 'm')
return 1
