-- Has Redis forget an organization whose counts lack something that the record has by now, so that it is rebuilt.
--
-- KEYS  1 the organization   ARGV  1, 2 the first and the last epoch of such counts

local org = load_organization(KEYS[1])
if not org or org.epoch < tonumber(ARGV[1]) or org.epoch > tonumber(ARGV[2]) then return 0 end
redis.call('HDEL', KEYS[1], 'm')
return 1
